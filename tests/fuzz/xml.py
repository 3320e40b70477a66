"""The reader of XML, and what tells what it is about."""

from __future__ import annotations

from aiverify.formats.markup import is_markup, root_of
from aiverify.formats.xml import examine_xml
from tests.framework_files import GRAPH, PMML
from tests.fuzz.reading import target


def _examine(data: bytes) -> object:
    is_markup(data)
    return examine_xml(data, "model.xml", root_of(data))


TARGET = target(_examine, lambda: [GRAPH.encode(), PMML.encode(), GRAPH.encode("utf-16")], "xml", "markup")
