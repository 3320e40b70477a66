"""What an XML file is about: the name of its outermost element."""

from __future__ import annotations

import codecs
import re

NET, PMML = "net", "PMML"

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_ELEMENT = re.compile(r"<([A-Za-z_][\w.-]{0,100}(?::[\w.-]{1,100})?)[\s/>]")
_BEGINS = re.compile(r"\s*<(?:\?xml[\s?]|!--|!DOCTYPE\s|!doctype\s|[A-Za-z_])")
_PAGE = re.compile(r"<!doctype\s+html\b", re.IGNORECASE)
#: Pages and pictures, which no loader of models opens.
_SHOWN = frozenset(("svg", "html", "head", "body", "div", "p", "img", "h1", "center", "details", "a", "br", "table"))


def is_markup(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is XML that a loader of models could open."""
    text = _text(head)
    if text is None or not _BEGINS.match(text):
        return False
    root = root_of(head)
    if root is None:  # nobody can tell: a long comment, or a list of entities
        plain = _COMMENT.sub("", text).lstrip()
        return plain[:1] in ("<", "") and not _PAGE.match(plain)
    return root in (NET, PMML) or (text.lstrip().startswith("<?xml") and root not in _SHOWN)


def root_of(head: bytes) -> str | None:
    """The name of the first element in ``head``, without a prefix; ``None`` if it cannot be told from there.

    What stands in an internal list of entities is no element, so nothing is said about a file with one.
    """
    text = _text(head)
    if text is None or not _BEGINS.match(text):
        return None
    plain = _COMMENT.sub("", text)
    if re.search(r"<!DOCTYPE[^>]*\[", plain):
        return None
    found = _ELEMENT.search(plain)
    return found[1].rpartition(":")[2] if found else None


def _text(head: bytes) -> str | None:
    encoding = next((encoding for mark, encoding in _MARKS if head.startswith(mark)), "utf-8")
    text = head.decode(encoding, "ignore")
    return None if "\0" in text else text
