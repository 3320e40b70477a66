"""YAML as texts, lists and tables, put together from its events: no tag constructs anything.

An alias stands for the very value that its anchor named, without a copy: who walks the result meets a container once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

MAX_DEPTH = 100
_PYTHON = re.compile(r"!\S{0,40}python\S{0,100}")
#: What HyperPyYAML makes of values by itself, and every document may hold thousands of times.
_PLAIN = frozenset(("!", "!ref", "!copy", "!tuple"))


@dataclass(slots=True)
class YamlDocument:
    """The documents of one file in order, and each tag that a loader may act on, with its offset.

    A text in parentheses that holds such a tag counts as one: HyperPyYAML reads it as YAML again.
    """

    values: list[object] = field(default_factory=list)
    tags: list[tuple[str, int]] = field(default_factory=list)


def read_yaml(text: str) -> YamlDocument:
    """Read ``text``. Raises yaml.YAMLError, ValueError and RecursionError for what is not YAML, or nested too deeply.

    What has no place in a table, as a key that is a list or one that stands twice, stands beside the documents.
    """
    import yaml

    document = YamlDocument()
    stack: list[_Open] = [_Open(document.values, document.values)]
    anchors: dict[str, object] = {}
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.DocumentStartEvent):
            anchors.clear()
        if isinstance(event, yaml.CollectionEndEvent):
            stack.pop()
            continue
        value: object
        if isinstance(event, yaml.AliasEvent):
            value = anchors.get(event.anchor or "")
        elif isinstance(event, yaml.ScalarEvent):
            value = event.value
        elif isinstance(event, yaml.MappingStartEvent):
            value = {}
        elif isinstance(event, yaml.SequenceStartEvent):
            value = []
        else:
            continue
        stack[-1].add(value)
        if isinstance(event, yaml.NodeEvent) and not isinstance(event, yaml.AliasEvent) and event.anchor:
            anchors[event.anchor] = value
        tag = event.tag if isinstance(event, yaml.CollectionStartEvent | yaml.ScalarEvent) else None
        again = _PYTHON.search(value) if isinstance(value, str) and value.startswith("(") else None
        for met in (tag, again[0] if again else None):
            if met is not None and met not in _PLAIN:
                document.tags.append((met, event.start_mark.index if event.start_mark else 0))
        if isinstance(value, dict | list) and isinstance(event, yaml.CollectionStartEvent):
            stack.append(_Open(value, document.values))
            if len(stack) > MAX_DEPTH:
                raise RecursionError("nested too deeply")
    return document


@dataclass(slots=True)
class _Open:
    """A container that is being filled. In a table, what is added is a key and then its value, in turn."""

    container: dict[str, object] | list[object]
    spare: list[object]
    key: str | None = None

    def add(self, value: object) -> None:
        if isinstance(self.container, list):
            self.container.append(value)
        elif self.key is None:
            self.key = value if isinstance(value, str) else ""
            if isinstance(value, dict | list):
                self.spare.append(value)
        else:
            key, self.key = self.key, None
            if key in self.container:
                self.spare.append({key: value})
            else:
                self.container[key] = value
