"""XML (OpenVINO graphs, PMML): searched for what makes a reader fetch, include or multiply.

XML is not parsed here: its parsers are C, or expand what they read. What is looked for stands in the text literally,
once its encoding is known: documents that declare types or entities, includes, style sheets; in OpenVINO graphs, layers
of extension libraries, and constants beyond the end of the file of numbers beside the graph. An encoding that could
hide them is refused.

Source: https://www.w3.org/TR/xml/ (prolog, entities), https://www.w3.org/TR/xinclude/; OpenVINO IR 11.
"""

from __future__ import annotations

import codecs
import re
from pathlib import PurePosixPath

from aiverify.formats.beside import Folder
from aiverify.formats.complaints import Complaints
from aiverify.formats.interface import Examination, Format
from aiverify.formats.markup import NET, PMML
from aiverify.formats.safetensors import shown

MAX_SIZE = 256 << 20

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_DECLARED = re.compile(rb"""^\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")
#: Not looked up by Python's codecs: that imports a module of the name that the file gives.
_PLAIN = frozenset(
    (
        *("utf-8", "utf8", "ascii", "us-ascii", "iso-8859-1", "iso8859-1", "latin-1", "latin1"),
        *("utf-16", "utf-16-le", "utf-16-be", "utf-16le", "utf-16be"),
    )
)
_EXTERNAL = re.compile(r"<!(?:DOCTYPE|ENTITY)\b[^<>\[]{0,2000}?\b(?:SYSTEM|PUBLIC)\b[^<>\[]{0,500}")
_ENTITY = re.compile(r"<!ENTITY\b[^<>]{0,200}")
_INCLUDE = re.compile(r"<(?:\w{1,100}:)?include\b[^<>]{0,500}?\bhref\b[^<>]{0,500}|<\?xml-stylesheet\b[^<>]{0,500}")
_LAYER = re.compile(r"<layer\b[^<>]{0,2000}>")
_ATTRIBUTE = re.compile(r"""\b(type|version)\s*=\s*["']([^"']{0,200})["']""")
_DATA = re.compile(r"<data\b[^<>]{0,4000}>")
_EXTENT = re.compile(r"""\b(offset|size)\s*=\s*["'](\d{1,19})["']""")
_FORMATS = {NET: Format.OPENVINO, PMML: Format.PMML}
_BEHIND = re.compile(r"<!--.*?(?:-->|\Z)|\s", re.DOTALL)
_OPSET = re.compile(r"opset\d{1,3}|experimental|gpu_opset|ie_internal_opset|")


def examine_xml(data: bytes, path: str, root: str | None = None, folder: Folder | None = None) -> Examination:
    """Examine one XML file, whose outermost element is ``root``; ``folder`` is where it lies, if that can be read."""
    examination = Examination(format=_FORMATS.get(root or "", Format.XML))
    complaints = Complaints(examination, path)
    if len(data) > MAX_SIZE:
        complaints.gap(f"an XML file of {len(data)} bytes")
        return examination
    text = _text(data)
    if text is None:
        complaints.gap("XML in an encoding that readers differ in")
        return examination
    for found in _EXTERNAL.finditer(text):
        complaints.say("AIV415", f"it makes a reader fetch {shown(found[0])}")
    for found in _INCLUDE.finditer(text):
        complaints.say("AIV415", f"it includes {shown(found[0])}")
    for found in _ENTITY.finditer(text):
        complaints.say("AIV404", f"it defines what readers expand: {shown(found[0])}")
    for found in _LAYER.finditer(text):
        attributes = dict(_ATTRIBUTE.findall(found[0]))
        if not _OPSET.fullmatch(attributes.get("version", "")):
            layer = f"{attributes.get('type')} ({attributes['version']})"
            complaints.say("AIV413", f"the layer {shown(layer)} needs a library of its own")
    if root == NET:
        _constants(text, complaints, PurePosixPath(path).stem, folder)
    end = f"</{root}>"
    if root is not None and _BEHIND.sub("", text).partition(end)[2]:
        complaints.say("AIV414", f"something follows the element {shown(root)}")
    return examination


def _constants(text: str, complaints: Complaints, stem: str, folder: Folder | None) -> None:
    """Judge where the constants of an OpenVINO graph lie in the file of numbers beside it."""
    end = 0
    for found in _DATA.finditer(text):
        extent = {key: int(value) for key, value in _EXTENT.findall(found[0])}
        if len(extent) == 2:
            end = max(end, extent["offset"] + extent["size"])
    if not end:
        return
    if folder is None:
        complaints.gap("its constants lie beside it, which cannot be looked up from where it lies")
        return
    numbers = f"{stem}.bin"
    size = folder.size_of(numbers)
    if size is None:
        complaints.say("AIV407", f"its constants are to be in {shown(numbers)}, which is missing")
    elif end > size:
        complaints.say("AIV407", f"its constants end at byte {end} of {shown(numbers)}, which has {size}")


def _text(data: bytes) -> str | None:
    """The file as text; ``None`` when its mark, its declaration and its bytes do not agree."""
    marked = next((encoding for mark, encoding in _MARKS if data.startswith(mark)), None)
    declared = _DECLARED.match(data[:400])
    try:
        named = declared[1].decode().lower().replace("_", "-") if declared else None
        if named is not None and named not in _PLAIN:
            return None
        text = data.decode(marked or named or "utf-8")
    except (LookupError, UnicodeDecodeError):
        return None
    return None if "\0" in text else text
