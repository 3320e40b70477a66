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
# What is looked for in an element may stand anywhere in it: no length of it, and no > in a value, hides what follows.
_EXTERNAL = re.compile(r"<!(?:DOCTYPE|ENTITY)\b[^<>\[]*?\b(?:SYSTEM|PUBLIC)\b[^<>\[]{0,500}")
_ENTITY = re.compile(r"<!ENTITY\b[^<>]{0,200}")
_INCLUDE = re.compile(r"<(?:[\w.-]{1,100}:)?include\b[^<]*?\bhref\b[^<>]{0,500}|<\?xml-stylesheet\b[^<>]{0,500}")
#: An element of OpenVINO that is looked at, with its attributes; group 3 is there where it ends as one does.
_ELEMENT = re.compile(r"""<(layer|data)(?=[\s/>])((?:[^<>"']|"[^"]*+"|'[^']*+')*+)(>)?""")
_ATTRIBUTE = re.compile(r"""([^\s"'=/]{1,200})\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_NUMBER = re.compile(r"\d{1,19}", re.ASCII)
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
    last = _elements(text, complaints)
    if root == NET and last:
        _constants(last, complaints, PurePosixPath(path).stem, folder)
    end = f"</{root}>"
    if root is not None and _BEHIND.sub("", text).partition(end)[2]:
        complaints.say("AIV414", f"something follows the element {shown(root)}")
    return examination


def _elements(text: str, complaints: Complaints) -> int:
    """Judge the layers of an OpenVINO graph; where the last of its constants ends in the file of numbers."""
    end = 0
    for found in _ELEMENT.finditer(text):
        attributes = {name: first or second for name, first, second in _ATTRIBUTE.findall(found[2])}
        if not found[3]:
            complaints.gap(f"an element {found[1]} that cannot be read")
        elif found[1] == "data":
            extent = [attributes.get("offset", ""), attributes.get("size", "")]
            if all(map(_NUMBER.fullmatch, extent)):
                end = max(end, sum(map(int, extent)))
        elif not _OPSET.fullmatch(version := attributes.get("version", "")):
            layer = f"{attributes.get('type')} ({version})"
            complaints.say("AIV413", f"the layer {shown(layer)} needs a library of its own")
    return end


def _constants(end: int, complaints: Complaints, stem: str, folder: Folder | None) -> None:
    """Judge whether the constants of a graph, which reach up to the byte ``end``, lie in the file beside it."""
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
