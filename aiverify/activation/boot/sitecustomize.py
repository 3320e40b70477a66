"""Found first by every interpreter below ``aiverify run``, by way of PYTHONPATH: the guard is on before any other code.

Another ``sitecustomize`` that this one stands before is imported afterwards, under its own name.
"""

import os
import sys


def _enter() -> None:
    """Switch the guard on, or end the process: the site module would swallow an exception and go on."""
    try:
        try:
            import aiverify
        except ModuleNotFoundError:
            if os.environ.get("AIVERIFY_RUN_PYTHON") != sys.implementation.cache_tag:
                raise  # what belongs to another version would break at the first load
            # Not installed here: that of the command. At the end, so that it takes the place of nothing.
            sys.path.append(os.path.abspath(f"{__file__}/../../../.."))  # noqa: PTH100 - pathlib is too slow here
            import aiverify  # noqa: F401 - whether it can be found
        from aiverify.activation.entering import enter_run

        enter_run()
    except BaseException as error:  # noqa: BLE001 - whatever it is, nothing may run without the guard
        os.write(2, f"aiverify: {sys.executable} cannot be guarded: {type(error).__name__}: {error}\n".encode())
        os._exit(125)


def _is(path: str, folder: os.stat_result) -> bool:
    """Whether ``path`` leads to ``folder``, under any name."""
    try:
        return os.path.samestat(os.stat(path), folder)  # noqa: PTH116 - as above
    except OSError:
        return False


def _chain() -> None:
    """Import the sitecustomize that would have been found without this one."""
    from _frozen_importlib import module_from_spec
    from _frozen_importlib_external import PathFinder

    here = os.stat(os.path.dirname(__file__))  # noqa: PTH116, PTH120 - as above
    spec = PathFinder.find_spec("sitecustomize", [path for path in sys.path if not _is(path, here)])
    if spec is not None and spec.loader is not None:
        module = module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


_enter()
_chain()
