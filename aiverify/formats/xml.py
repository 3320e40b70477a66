"""XML (OpenVINO graphs, PMML): searched for what makes a reader fetch, include or multiply.

XML is not parsed here: its parsers are C, or expand what they read. What is looked for stands in the text literally,
once its encoding is known: documents that declare types or entities, includes, style sheets; in OpenVINO graphs, layers
of extension libraries. An encoding that could hide them is refused.

Source: https://www.w3.org/TR/xml/ (prolog, entities), https://www.w3.org/TR/xinclude/; OpenVINO IR 11.
"""

from __future__ import annotations

import codecs
import re

from aiverify.finding import Unexamined
from aiverify.formats.interface import Examination, Format
from aiverify.formats.safetensors import shown
from aiverify.rules import finding

MAX_SIZE = 256 << 20
MAX_REPORTED = 50

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_DECLARED = re.compile(rb"""^\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")
_PLAIN = frozenset(("utf-8", "ascii", "iso8859-1", "utf-16", "utf-16-le", "utf-16-be"))
_EXTERNAL = re.compile(r"<!(?:DOCTYPE|ENTITY)\b[^>\[]{0,2000}?\b(?:SYSTEM|PUBLIC)\b[^>\[]{0,500}")
_ENTITY = re.compile(r"<!ENTITY\b[^>]{0,200}")
_INCLUDE = re.compile(r"<(?:\w+:)?include\b[^>]{0,500}\bhref\b[^>]{0,500}|<\?xml-stylesheet\b[^>]{0,500}")
_LAYER = re.compile(r"<layer\b[^>]{0,2000}>")
_ATTRIBUTE = re.compile(r"""\b(type|version)\s*=\s*["']([^"']{0,200})["']""")
_OPSET = re.compile(r"opset\d{1,3}|experimental|gpu_opset|ie_internal_opset|")


def examine_xml(data: bytes, path: str) -> Examination:
    """Examine one XML file."""
    examination = Examination(format=Format.XML)
    if len(data) > MAX_SIZE:
        examination.unexamined.append(Unexamined(file=path, reason=f"an XML file of {len(data)} bytes"))
        return examination
    text = _text(data)
    if text is None:
        examination.unexamined.append(Unexamined(file=path, reason="XML in an encoding that readers differ in"))
        return examination
    for found in _EXTERNAL.finditer(text):
        _say(examination, path, "AIV415", f"it makes a reader fetch {shown(found[0])}")
    for found in _INCLUDE.finditer(text):
        _say(examination, path, "AIV415", f"it includes {shown(found[0])}")
    for found in _ENTITY.finditer(text):
        _say(examination, path, "AIV404", f"it defines what readers expand: {shown(found[0])}")
    for found in _LAYER.finditer(text):
        attributes = dict(_ATTRIBUTE.findall(found[0]))
        if not _OPSET.fullmatch(attributes.get("version", "")):
            layer = f"{attributes.get('type')} ({attributes['version']})"
            _say(examination, path, "AIV413", f"the layer {shown(layer)} needs a library of its own")
    return examination


def _say(examination: Examination, path: str, rule: str, text: str) -> None:
    said = finding(rule, text, file=path)
    if said not in examination.findings and len(examination.findings) < MAX_REPORTED:
        examination.findings.append(said)


def _text(data: bytes) -> str | None:
    """The file as text; ``None`` when its mark, its declaration and its bytes do not agree."""
    marked = next((encoding for mark, encoding in _MARKS if data.startswith(mark)), None)
    declared = _DECLARED.match(data[:400])
    try:
        named = codecs.lookup(declared[1].decode()).name if declared else None
        if named is not None and named not in _PLAIN:
            return None
        text = data.decode(marked or named or "utf-8")
    except (LookupError, UnicodeDecodeError):
        return None
    return None if "\0" in text else text
