"""Breaks of the judgement: the columns of the trusted table, rules for arguments and states, parts of a verdict."""

from __future__ import annotations

import dataclasses
import functools
import importlib
from collections.abc import Callable, Iterator
from typing import Any

from tests.mutations.breaks import JUDGEMENT, Break

USES = ("reference", "new", "construct", "build", "fill", "extend", "hash", "argument", "persistent")


def judgement_breaks() -> Iterator[Break]:
    """Breaks of tables, uses and rules."""
    for name, patch in _patches():
        yield Break(name=name, tests=JUDGEMENT, patch=patch)
    for module, listed in _SOURCES.items():
        for name, replace in listed.items():
            yield Break(name=name, tests=JUDGEMENT, module=f"aiverify.pickles.{module}", replace=replace)


def _patches() -> Iterator[tuple[str, Callable[[], None]]]:
    for use in USES:
        yield (
            f"column {use}: every trusted name may be used so",
            _table(lambda entry, use=use: entry.uses | {use}, "uses"),
        )
        yield f"column {use}: no trusted name may be used so", _table(lambda entry, use=use: entry.uses - {use}, "uses")
    columns = {"arguments": None, "state": None, "keys": frozenset(), "holds": {}, "items": None, "native": None}
    for column, none in columns.items():
        yield f"column {column}: empty", _table(lambda _, none=none: none, column)
    yield "column group: empty", _table(lambda _: None, "group")
    for rule in _rules("arguments"):
        yield f"arguments {rule}: everything is accepted", _rule("arguments", rule, None)
        yield f"arguments {rule}: everything is refused", _rule("arguments", rule, "broken on purpose")
    for rule in _rules("state"):
        yield f"state {rule}: everything is accepted", _rule("_state", rule, None)
        yield f"state {rule}: everything is refused", _rule("_state", rule, "broken on purpose")
    yield "signatures: every signature fits", _function("signatures", "Kinds.accepts", lambda *_: True)
    yield "signatures: no signature fits", _function("signatures", "Kinds.accepts", lambda *_: False)
    yield "signatures: every value fits", _function("signatures", "Kinds.fits", lambda *_: True)
    for part in ("_names", "_calls", "_changes", "_ids", "_form"):
        yield f"judge {part}: says nothing", _function("judge", f"_Judgement.{part}", lambda _: iter(()))
    yield "danger: nothing is dangerous", _function("judge", "danger", lambda _: None)
    yield "trust: every name is trusted", _function("judge", "entry_of", lambda _: next(iter(_trusted().values())))
    yield "storage ids: every id is one", _function("judge", "is_storage_id", lambda *_: True)
    yield "storage ids: no id is one", _function("judge", "is_storage_id", lambda *_: False)
    yield "making: no call hands a class on", _function("making", "_handed_on", lambda *_: None)
    yield "making: getattr reaches nothing", _everywhere("attribute", lambda _: None)


def _trusted() -> dict[str, Any]:
    return importlib.import_module("aiverify.pickles.tables").trusted()


def _table(change: Callable[[Any], object], column: str) -> Callable[[], None]:
    def patch() -> None:
        tables = importlib.import_module("aiverify.pickles.tables")
        original = tables._entries.__wrapped__  # a test of the table itself asks for it, too

        @functools.cache
        def entries(file: str):
            return {
                name: dataclasses.replace(entry, **{column: change(entry)}) for name, entry in original(file).items()
            }

        tables._entries = entries

    return patch


def _rules(column: str) -> list[str]:
    """The names of the rules that entries of the trusted table give in this column."""
    import tomllib

    from tests.mutations.breaks import ROOT

    entries = [
        entry
        for file in sorted((ROOT / "aiverify/pickles/data/trusted").iterdir())
        for entry in tomllib.loads(file.read_text("utf-8"))["entry"]
    ]
    return sorted({entry[column] for entry in entries if isinstance(entry.get(column), str)})


def _rule(method: str, rule: str, answer: str | None) -> Callable[[], None]:
    def patch() -> None:
        checker = importlib.import_module("aiverify.pickles.arguments").Checker
        column = method.removeprefix("_")
        name = "states" if column == "state" else method
        original = getattr(checker, name)

        def broken(self, entry, subject):
            return answer if getattr(entry, column) == rule else original(self, entry, subject)

        setattr(checker, name, broken)

    return patch


def _function(module: str, path: str, instead: Callable) -> Callable[[], None]:
    def patch() -> None:
        owner: Any = importlib.import_module(f"aiverify.pickles.{module}")
        *outer, name = path.split(".")
        for part in outer:
            owner = getattr(owner, part)
        if not hasattr(owner, name):
            raise AttributeError(f"{module} has no {path}")
        setattr(owner, name, instead)

    return patch


def _everywhere(name: str, instead: Callable) -> Callable[[], None]:
    def patch() -> None:
        for module in ("making", "uses", "judge"):
            setattr(importlib.import_module(f"aiverify.pickles.{module}"), name, instead)

    return patch


_SOURCES = {
    "judge": {
        "a computed name is not told": (
            "if found.module is None:\n                yield",
            "if False:\n                yield",
        ),
        "extension codes are not told": ("self.graph.extensions[:1]", "self.graph.extensions[:0]"),
        "the policy may trust dangerous names": (
            '        if effect is not None:\n            text = f"names',
            '        if effect is not None and found.dotted not in self.trust:\n            text = f"names',
        ),
        "a change of a global is as bad as one of a literal": (
            "if isinstance(mutation.target, Global):",
            "if False:",
        ),
        "a torn frame is not critical": ("Severity.CRITICAL if anomaly.kind", "None if anomaly.kind"),
        "a failure is not told": ("if graph.failure is not None:", "if False:"),
        "anomalies are not told": ("reversed(anomalies)}", "reversed(anomalies[:0])}"),
        "what is copied over and over is not told": ("repeated = repeats(graph)", "repeated = None"),
        "positions are not looked at": ("positions(entry.positions, call)", "None"),
        "storages may be larger than what is there": ("if wanted > held.get(key, wanted):", "if False:"),
        "what is itself computed may be called": (
            'complaint, name = "calls something that is itself computed", ""',
            'complaint, name = "", ""',
        ),
        "ids are judged without the container's word": ("if self.storages is False or not", "if not"),
    },
    "tables": {
        "a name is looked up as it is written only": ("candidates.append((found.module, found.name))", "pass"),
        "a name is looked up as it is renamed only": (
            "    candidates = [found.written]",
            "    candidates = [] if found.module else [found.written]",
        ),
        "what lies below a dangerous module is not dangerous": (
            "for length in range(min(len(parts), deepest), 0, -1):",
            "for length in ():",
        ),
        "special attributes are harmless": ("if special and found.dotted not in _CREATORS:", "if False:"),
        "a dotted name may lead out of its module": ("if any(step in _WAY_OUT for step in steps):", "if False:"),
        "a dangerous name is not looked up": ("if dotted in names:", "if False:"),
    },
    "uses": {
        "the result is not looked at": ("self._value(self.graph.root, Use.REFERENCE)\n", "pass\n"),
        "keyword arguments are not looked at": ("self._value(call.kwargs, Use.ARGUMENT)", "pass"),
        "states are not looked at": ("self._values(call.states, Use.REFERENCE)", "pass"),
        "contents of objects are not looked at": ("self._pairs(call.items)", "pass"),
        "keys are not looked at": ("self._value(key, Use.HASH)", "pass"),
        "members of sets are not looked at": ("self._values(value.members, Use.HASH)", "pass"),
        "what a change sets is not looked at": ("self._value(mutation.value, Use.REFERENCE)", "pass"),
        "a name that is thrown away is not used": ("sighting.uses.add(Use.REFERENCE)", "pass"),
        "an id may have any length": ("and len(pid) in (5, 6)", "and len(pid) > 2"),
        "an id may be of any kind": ('and pid[0] == "storage"', "and True"),
        "an id may have any type": ("and isinstance(pid[1], Global)", "and True"),
        "an id may have any key": ("and isinstance(pid[2], str)", "and True"),
        "an id may have any location": ("and _LOCATION.fullmatch(pid[3]) is not None", "and True"),
        "an id may have any size": ("and isinstance(pid[4], int)", "and True"),
        "an id may name what is not there": ("and (keys is None or pid[2] in keys)", "and True"),
        "an id may have any view": ("and (len(pid) == 5 or pid[5] is None or isinstance(pid[5], tuple))", "and True"),
    },
}
