"""The two tables of globals: that they hold what they say they hold, and that they do not contradict each other."""

import json
import tomllib
from importlib import resources
from pathlib import Path

import pytest

from aiverify.pickles.arguments import ARGUMENT_RULES, Checker
from aiverify.pickles.graph import Call, CallKind, Dictionary, Global
from aiverify.pickles.tables import Use, danger, trusted

DATA = resources.files("aiverify.pickles").joinpath("data")
SURVEY = Path(__file__).parents[3] / "shared" / "data" / "real-model-globals.json"
ENTRIES = tomllib.loads(DATA.joinpath("trusted.toml").read_text("utf-8"))["entry"]
DANGERS = tomllib.loads(DATA.joinpath("dangerous.toml").read_text("utf-8"))["danger"]
CHECKED_ELSEWHERE = {"plain", "frombuffer", "scalar"}
STATE_RULES = {"keys", "attributes", "ndarray", "dtype"}


def named(dotted: str) -> Global:
    module, _, name = dotted.rpartition(".")
    return Global(module, name, 0, (module, name))


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["names"][0])
def test_every_trusted_entry_says_what_for_why_and_where_from(entry):
    assert set(entry) <= {"names", "uses", "arguments", "state", "keys", "reason", "source"}
    assert entry["names"]
    assert entry["reason"].endswith(".")
    assert entry["source"]
    assert set(entry["uses"]) <= set(Use)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["names"][0])
def test_whatever_may_be_called_or_given_state_has_a_rule_for_it(entry):
    uses = set(entry["uses"])
    assert ("arguments" in entry) == bool(uses & {"new", "construct"})
    assert ("state" in entry) == ("build" in uses)
    assert entry.get("arguments") in ARGUMENT_RULES.keys() | CHECKED_ELSEWHERE | {None}
    assert entry.get("state") in STATE_RULES | {None}
    assert ("keys" in entry) == (entry.get("state") == "keys")


@pytest.mark.parametrize("rule", sorted(ARGUMENT_RULES.keys() | CHECKED_ELSEWHERE))
def test_every_argument_rule_is_used_and_answers_to_nonsense(rule):
    assert rule in {entry.get("arguments") for entry in ENTRIES} | {"codec"}
    nonsense = Call(CallKind.REDUCE, named("a.b"), tuple(named("os.system") for _ in range(4)), 0)
    assert Checker().arguments(rule, nonsense)


@pytest.mark.parametrize("name", sorted(trusted()))
def test_no_name_is_both_trusted_and_dangerous(name):
    assert danger(named(name)) is None
    assert name.rpartition(".")[2].isidentifier()


def test_every_danger_has_an_effect_and_names_without_repetition():
    for entry in DANGERS:
        assert set(entry) <= {"effect", "modules", "names"}
        assert entry["effect"]
    names = [name for entry in DANGERS for name in entry.get("names", ())]
    assert all("." in name for name in names)


@pytest.mark.parametrize(
    "dotted",
    [
        *("os.system", "posix.system", "nt.system", "subprocess.Popen", "builtins.eval", "builtins.exec", "pty.spawn"),
        *(
            "os.path.join",
            "importlib.import_module",
            "pickle.loads",
            "_pickle.loads",
            "shutil.rmtree",
            "builtins.getattr",
        ),
        *("socket.create_connection", "torch.load", "torch.hub.load", "operator.attrgetter", "ctypes.CDLL", "sys.exit"),
        *(
            "runpy.run_path",
            "code.interact",
            "timeit.timeit",
            "webbrowser.open",
            "numpy.load",
            "joblib.load",
            "time.sleep",
        ),
    ],
)
def test_a_known_danger_is_known(dotted):
    assert danger(named(dotted))


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("torch", "serialization.os.system"),
        ("collections", "abc.sys.modules"),
        ("torch.nn", "Module.__init__.__globals__"),
        ("json", "decoder.scanner.__loader__"),
        ("logging", "os.system"),
    ],
)
def test_a_dotted_name_that_leaves_its_module_is_dangerous(module, name):
    assert danger(Global(module, name, 0, (module, name)))


def test_a_name_that_python_3_renames_is_dangerous_under_both_names():
    assert danger(Global("builtins", "eval", 0, ("__builtin__", "eval")))
    assert danger(Global("subprocess", "getoutput", 0, ("commands", "getoutput")))
    assert danger(Global("harmless", "x", 0, ("os", "system")))


def test_a_name_of_very_many_dots_is_looked_up_in_no_time():
    name = "a" + ".a" * 200_000
    assert danger(Global("m", name, 0, ("m", name))) is None


def test_a_repeated_name_in_the_trusted_table_is_refused(monkeypatch):
    from aiverify.pickles import tables

    entry = {"names": ["a.b"], "uses": [], "reason": "r", "source": "s"}
    monkeypatch.setattr(tables, "_load", lambda name: {"entry": [entry, entry]})
    with pytest.raises(ValueError, match=r"names a\.b twice"):
        tables.trusted.__wrapped__()


def test_keyword_arguments_are_never_trusted():
    call = Call(CallKind.NEWOBJ_EX, named("a.b"), (), 0, Dictionary([("key", 1)]))
    assert Checker().arguments("none", call) == "keyword arguments"
    assert Checker().arguments("none", Call(CallKind.NEWOBJ_EX, named("a.b"), (), 0, Dictionary())) is None


# What popular repositories really hold

UNAVOIDABLE = frozenset()


def test_what_popular_models_name_is_not_called_dangerous(record_property):
    if not SURVEY.exists():
        pytest.skip(f"the survey of real models is not beside the checkout ({SURVEY.name})")
    survey = json.loads(SURVEY.read_text())
    called = {name: danger(named(name)) for group in survey["sets"] for name in group["globals"]}
    assert {name for name, effect in called.items() if effect} == UNAVOIDABLE
    known = [group for group in survey["sets"] if all(name in trusted() for name in group["globals"])]
    files = sum(group["files"] for group in known)
    record_property("wholly trusted", f"{len(known)} of {len(survey['sets'])} sets, {files} of {survey['files']} files")
    assert files / survey["files"] > 0.8
