"""The two tables of globals: that they hold what they say they hold, and that they do not contradict each other."""

import json
import tomllib
import warnings
from importlib import resources
from pathlib import Path

import pytest
from special_methods import resolve, special_methods

from aiverify.pickles.arguments import ARGUMENT_RULES, Checker
from aiverify.pickles.graph import Call, CallKind, Dictionary, Global
from aiverify.pickles.signatures import KINDS, alternatives, keys_of, parameters
from aiverify.pickles.tables import FILES, Entry, Use, danger, names_of, trusted

DATA = resources.files("aiverify.pickles").joinpath("data")
SURVEY = Path(__file__).parents[3] / "shared" / "data" / "real-model-globals.json"
ENTRIES = [
    entry
    for file in FILES
    for entry in tomllib.loads(DATA.joinpath("trusted", f"{file}.toml").read_text("utf-8"))["entry"]
]
DANGERS = tomllib.loads(DATA.joinpath("dangerous.toml").read_text("utf-8"))["danger"]
CHECKED_ELSEWHERE = {"plain", "members", "pairs", "frombuffer", "scalar", "pattern"}
STATE_RULES = {"keys", "attributes", "ndarray", "masked", "dtype", "random"}
FIELDS = {"names", "uses", "arguments", "state", "keys", "holds", "items", "group", "native", "positions"} | {
    "runs",
    "historical",
}
GROUPS = {entry["group"] for entry in ENTRIES if "group" in entry}


def first(entry) -> str:
    return names_of(entry)[0]


each_entry = pytest.mark.parametrize("entry", ENTRIES, ids=first)
# A name of another version of a library cannot be compared with the installed one.
INSTALLED = [entry for entry in ENTRIES if not entry.get("historical")]


def named(dotted: str) -> Global:
    module, _, name = dotted.rpartition(".") if ":" not in dotted else dotted.partition(":")
    return Global(module, name, 0, (module, name))


def signatures(entry, field) -> list[str]:
    return entry[field] if isinstance(entry.get(field), list) else []


@each_entry
def test_every_trusted_entry_says_what_for_why_and_where_from(entry):
    assert set(entry) <= FIELDS | {"reason", "source"}
    assert names_of(entry)
    assert entry["reason"].endswith(".")
    assert entry["source"]
    assert entry["uses"]
    assert set(entry["uses"]) <= set(Use)


@each_entry
def test_whatever_may_be_called_or_given_state_has_a_rule_for_it(entry):
    uses = set(entry["uses"])
    assert ("arguments" in entry) == bool(uses & {"new", "construct"})
    assert ("state" in entry) == ("build" in uses)
    if isinstance(entry.get("arguments", ""), str):
        assert entry.get("arguments") in ARGUMENT_RULES.keys() | CHECKED_ELSEWHERE | {None}
    if isinstance(entry.get("state", ""), str):
        assert entry.get("state") in STATE_RULES | {None}
    assert ("keys" in entry) == (entry.get("state") == "keys")
    assert entry.get("holds", {}).keys() <= set(entry.get("keys", entry.get("holds", {})))


def kinds_in(kinds: str) -> set[str]:
    """The kinds that ``kinds`` is made of, inside of brackets as well."""
    found = set()
    for kind in alternatives(kinds):
        if kind.startswith("{"):
            inside = list(keys_of(kind).values())
        else:
            inside = [kind[1:-1]] if kind.startswith(("[", "(")) else []
        found |= set().union(*map(kinds_in, inside)) if inside else {kind}
    return found


@each_entry
def test_signatures_speak_of_kinds_and_groups_that_exist(entry):
    kinds = set()
    for signature in [*signatures(entry, "arguments"), *signatures(entry, "state")]:
        kinds |= set().union(*(kinds_in(parameter.kinds) for parameter in parameters(signature)))
    for held in [*entry.get("holds", {}).values(), *entry.get("items", {}).values()]:
        kinds |= kinds_in(held)
    unknown = {kind.removeprefix("class ") for kind in kinds if not kind.startswith("'")} - KINDS - GROUPS
    assert unknown == set()


def test_a_group_is_either_of_names_that_are_handed_on_or_of_makers():
    makers = {entry["group"] for entry in ENTRIES if {"new", "construct"} & set(entry["uses"]) and "group" in entry}
    handed = {entry["group"] for entry in ENTRIES if not {"new", "construct"} & set(entry["uses"]) and "group" in entry}
    assert makers & handed == set()


@pytest.mark.parametrize("signature", ["int?, text", "int*, text", "int|", "int??", "|text"])
def test_what_is_no_signature_is_refused(signature):
    with pytest.raises(ValueError, match="is not a signature"):
        parameters(signature)


NONSENSE = tuple(named("os.system") for _ in range(4))


@pytest.mark.parametrize("rule", sorted(ARGUMENT_RULES.keys() | CHECKED_ELSEWHERE))
def test_every_argument_rule_is_used_and_answers_to_nonsense(rule):
    assert rule in {entry.get("arguments") for entry in ENTRIES if isinstance(entry.get("arguments"), str)}
    assert Checker().arguments(an_entry(rule), NONSENSE)


@each_entry
def test_no_entry_takes_nonsense_as_arguments(entry):
    table = trusted()[first(entry)]
    if table.arguments is not None:
        for size in range(1, 12):
            assert Checker().arguments(table, NONSENSE[:1] * size), size


@each_entry
def test_no_entry_takes_nonsense_as_state(entry):
    table = trusted()[first(entry)]
    if table.state is not None:
        for state in (named("os.system"), 7, "text", (1, 2, 3), (None, Dictionary([("a", 1)])), [1]):
            call = Call(CallKind.REDUCE, named("numpy.dtype"), ("f8", False, True), 0, states=[state])
            assert Checker().states(table, call), state
        special = Call(CallKind.REDUCE, named("a.b"), (), 0, states=[Dictionary([("__class__", 1)])])
        assert Checker().states(table, special)


def an_entry(arguments: str) -> Entry:
    return Entry(uses=frozenset({Use.CONSTRUCT}), arguments=arguments, reason="r.", source="s")


# What the table says of the libraries, against the libraries


@pytest.mark.parametrize("entry", INSTALLED, ids=first)
def test_every_name_is_there_and_runs_only_the_methods_that_its_entry_lists(entry):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {name: resolve(name) for name in names_of(entry) if name != "pathlib.WindowsPath"}
    runs = {method for cls in found.values() if isinstance(cls, type) for method in special_methods(cls, entry["uses"])}
    assert runs == set(entry.get("runs", ()))
    callable_use = {"new", "construct"} & set(entry["uses"])
    assert all(callable(thing) for thing in found.values()) or not callable_use


@each_entry
def test_objects_whose_attributes_a_file_may_choose_are_asked_for_none_that_a_loader_calls(entry):
    """``append``, ``extend``, ``add`` and ``__setstate__`` are looked up on the object, and so by ``__getattr__``."""
    made_up = [method.rpartition(".")[0] for method in entry.get("runs", ()) if method.endswith(".__getattr__")]
    assert "extend" not in entry["uses"] or not made_up
    if "fill" in entry["uses"] and made_up:
        assert entry["items"]["keys"] == "name"
    if {"fill", "build"} <= set(entry["uses"]) and made_up:
        assert all("__setstate__" in dir(resolve(name)) for name in names_of(entry))


@pytest.mark.parametrize("entry", [entry for entry in INSTALLED if "keys" in entry], ids=first)
def test_no_key_of_a_state_hides_a_method(entry):
    for name in names_of(entry):
        cls = resolve(name)
        hidden = {key for key in entry["keys"] if callable(getattr(cls, key, None))}
        assert hidden == set(), name


def test_the_hooks_of_a_module_must_be_empty_and_what_it_calls_is_no_key():
    (module,) = [entry for entry in ENTRIES if entry.get("group") == "module"]
    hooks = {key for key in module["keys"] if "hook" in key} - {"_is_full_backward_hook"}
    assert len(hooks) == 11
    assert all(module["holds"][key] == "empty" for key in hooks)
    assert {"forward", "_call_impl", "_wrapped_call_impl", "_compiled_call_impl"}.isdisjoint(module["keys"])


def test_every_standard_module_of_torch_is_listed_but_those_that_are_not_what_they_seem():
    import torch.nn as nn

    listed = {name.rpartition(".")[2] for name in trusted() if name.startswith("torch.nn.modules.")}
    public = {
        name
        for name in nn.modules.__all__
        if isinstance(getattr(nn, name), type) and issubclass(getattr(nn, name), nn.Module)
    }
    lazy = {name for name in public if name.startswith("Lazy")}
    assert public - listed - lazy == {"Module", "Container"}


def test_every_estimator_of_scikit_learn_is_listed():
    from sklearn.utils import all_estimators

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        public = {f"{cls.__module__}.{cls.__qualname__}" for _, cls in all_estimators()}
    missing = public - trusted().keys()
    assert missing == {"sklearn.frozen._frozen.FrozenEstimator"}  # it answers to every attribute through another object


# Dangers


def test_no_name_is_both_trusted_and_dangerous():
    assert {name for name in trusted() if danger(named(name)) is not None} == set()
    assert all(part.isidentifier() for name in trusted() for part in name.replace(":", ".").split("."))


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
        *("os.path.join", "importlib.import_module", "pickle.loads", "_pickle.loads", "shutil.rmtree"),
        *("builtins.getattr", "socket.create_connection", "torch.load", "torch.hub.load", "operator.attrgetter"),
        *("ctypes.CDLL", "sys.exit", "runpy.run_path", "code.interact", "timeit.timeit", "webbrowser.open"),
        *("numpy.load", "joblib.load", "time.sleep", "builtins.type", "cloudpickle.cloudpickle._make_function"),
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
        ("copyreg", "__newobj__.__globals__"),
    ],
)
def test_a_dotted_name_that_leaves_its_module_is_dangerous(module, name):
    assert danger(Global(module, name, 0, (module, name)))


def test_a_name_that_python_3_renames_is_dangerous_under_both_names():
    assert danger(Global("builtins", "eval", 0, ("__builtin__", "eval")))
    assert danger(Global("subprocess", "getoutput", 0, ("commands", "getoutput")))
    assert danger(Global("harmless", "x", 0, ("os", "system")))


def test_what_is_harmless_in_a_dangerous_module_is_only_unknown():
    assert danger(named("torch._dynamo.decorators._DimRange")) is None
    assert "torch._dynamo.decorators._DimRange" not in trusted()
    assert danger(named("torch._dynamo.decorators._DimRange.x"))
    assert danger(named("torch._dynamo.decorators.disable"))
    assert danger(Global("torch._dynamo.decorators", "_DimRange", 0, ("os", "system")))


def test_a_name_of_very_many_dots_is_looked_up_in_no_time():
    name = "a" + ".a" * 200_000
    assert danger(Global("m", name, 0, ("m", name))) is None


def test_a_repeated_name_in_the_trusted_table_is_refused(monkeypatch):
    from aiverify.pickles import tables

    entry = {"names": ["a.b"], "uses": [], "reason": "r", "source": "s"}
    other = {"names": {"a": ["b"]}, "uses": [], "reason": "r", "source": "s"}
    monkeypatch.setattr(tables, "_load", lambda name: {"entry": [entry, other]})
    with pytest.raises(ValueError, match=r"names a\.b twice"):
        tables._entries.__wrapped__("python")


def test_keyword_arguments_are_never_trusted():
    assert Checker().arguments(an_entry("none"), (), Dictionary([("key", 1)])) == "keyword arguments"
    assert Checker().arguments(an_entry("none"), (), Dictionary()) is None


# What popular repositories really hold

TENSORS_ONLY = ("torch._utils.", "torch._tensor.", "collections.", "_codecs.", "numpy.", "torch.nn.parameter.")


def tensor_only(names) -> bool:
    return all(name.startswith(TENSORS_ONLY) or name.count(".") == 1 for name in names)


def test_what_popular_models_name_is_trusted_and_never_called_dangerous(record_property):
    if not SURVEY.exists():
        pytest.skip(f"the survey of real models is not beside the checkout ({SURVEY.name})")
    survey = json.loads(SURVEY.read_text())
    called = {name: danger(named(name)) for group in survey["sets"] for name in group["globals"]}
    assert {name for name, effect in called.items() if effect} == set()
    known = [group for group in survey["sets"] if all(name in trusted() for name in group["globals"])]
    files = sum(group["files"] for group in known)
    plain = sum(group["files"] for group in known if tensor_only(group["globals"]))
    record_property(
        "wholly trusted", f"{files} of {survey['files']} files: {plain} of tensors, {files - plain} with classes"
    )
    assert files / survey["files"] > 0.95
    assert plain / survey["files"] > 0.92
