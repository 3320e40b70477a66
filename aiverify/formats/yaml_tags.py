"""Tags of YAML that make a loader import, call or include what they name.

PyYAML's own say ``python``. HyperPyYAML, in which the models of SpeechBrain are written, has others: ``!new:``,
``!name:``, ``!apply:``, ``!applyref:`` and ``!module:`` take a name, ``!include:`` takes a file.

Source: hyperpyyaml 1.2, ``core.py``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from aiverify.finding import Finding, Location, Severity
from aiverify.formats.code_keys import MAX_FINDINGS, judge_places
from aiverify.formats.dotted_names import judge_name
from aiverify.rules import finding

#: What PyYAML writes of values that are no objects of a class that could do something.
_VALUES = frozenset(
    f"tag:yaml.org,2002:python/{kind}"
    for kind in (
        *("bool", "bytes", "complex", "dict", "float", "int", "list", "long", "none", "str", "tuple", "unicode"),
        "object/apply:collections.OrderedDict",
    )
)
_CALLED = ("!new", "!name", "!apply", "!applyref")


def judge_tags(tags: Sequence[tuple[str, int]], path: str) -> Iterator[Finding]:
    """What the tags of the file ``path`` make a loader do, each said once, at its first place."""
    said: Counter[Severity] = Counter()
    for tag, offset in dict(reversed(tags)).items():
        for item in _judged(tag, path):
            said[item.severity] += 1
            if said[item.severity] <= MAX_FINDINGS:
                yield replace(item, location=Location(offset=offset))


def _judged(tag: str, path: str) -> Iterator[Finding]:
    kind, _, name = tag.partition(":")
    if kind in _CALLED:
        yield from judge_name(f"the tag {kind}", name, path)
    elif kind == "!module":
        yield from judge_name(f"the tag {kind}", name, path, called=False)
    elif kind == "!include":
        yield from judge_places(f"the tag {kind}", name, path)
    elif tag in _VALUES:
        text = f"the tag {tag!r} is one of Python, and constructs a plain value"
        yield finding("AIV501", text, file=path, severity=Severity.LOW)
    elif "python" in tag:
        text = f"the tag {tag[:200]!r} constructs a Python object"
        yield finding("AIV501", text, file=path, severity=Severity.HIGH)
