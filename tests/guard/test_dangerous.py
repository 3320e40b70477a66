"""The short list of names that no pickle may have, and what must stay possible."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiverify.guard.dangerous import is_dangerous


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("posix", "system"),
        ("__builtin__", "eval"),
        ("builtins", "exec"),
        ("subprocess", "Popen"),
        ("importlib", "import_module"),
        ("shutil", "os"),
        ("tempfile", "_os.system"),
        ("webbrowser", "subprocess.Popen"),
        ("asyncio.subprocess", "subprocess"),
        ("marshal", "loads"),
        ("runpy", "run_path"),
        ("json", "dumps.__globals__"),
        ("builtins", "print.__self__.eval"),
        ("builtins", "eval.__call__"),
        ("sys", "modules.get"),
        ("collections", "abc.sys"),
        ("numpy", "testing._private.utils.os.system"),
    ],
)
def test_a_dangerous_name_is_denied(module: str, name: str) -> None:
    assert is_dangerous(module, name)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "getattr"),
        ("builtins", "set"),
        ("collections", "OrderedDict"),
        ("pathlib", "PosixPath"),
        ("threading", "Thread.start"),
        ("functools", "partial"),
        ("multiprocessing.context", "SpawnProcess"),
        ("cloudpickle.cloudpickle", "_make_function"),
        ("copy_reg", "_reconstructor"),
        ("joblib.numpy_pickle", "load"),
        ("pandas", "read_pickle"),
        ("pickle", "loads"),
        ("__main__", "anything"),
        ("no.such.module", "name"),
    ],
)
def test_what_processes_send_each_other_is_allowed(module: str, name: str) -> None:
    assert not is_dangerous(module, name)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20), st.text(max_size=20))
def test_any_name_has_an_answer(module: str, name: str) -> None:
    assert is_dangerous("zz" + module, name) in (True, False)
