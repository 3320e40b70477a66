r"""Text that came with an artifact, made fit for a terminal or a log.

The rules:

- One input string gives one line: line breaks and tabs are escaped as ``\n`` and ``\t``.
- Whatever is not printable in the sense of ``str.isprintable`` is escaped: C0 and C1 controls (so escape sequences lose
  their ESC), bidi controls, zero-width characters, line separators, surrogates, private and unassigned characters.
- So is what is printable but invisible (fillers, variation selectors), and every combining mark after three in a row.
- What the encoding of the output cannot show is escaped too, so writing the text cannot fail; but the arrow and the
  ellipsis of aiverify's own sentences become ``->`` and ``...``.
- What a CI service takes for a command in a log is broken up: ``::command::`` (GitHub), which only counts at the
  beginning of a line, but a long name can wrap there; and ``##[command]``, ``##vso[…]`` (Azure, TeamCity).
- Length is limited, and the text says how much was left out.

Sources: https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands,
https://learn.microsoft.com/en-us/azure/devops/pipelines/scripts/logging-commands.

Markup is no business of this module: the reporters never parse text as markup.
"""

from __future__ import annotations

import re
import unicodedata

MAX_CHARACTERS = 1000
MAX_MARKS = 3

_COLONS = re.compile(r"(?<!\w)::")
_HASHES = re.compile(r"##(?=\w*\[)")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_SPELLED = {"→": "->", "…": "..."}
# Letters and marks that are printable by category and yet draw nothing (Default_Ignorable_Code_Point of UAX #44), and
# the empty braille pattern.
_INVISIBLE = frozenset(
    chr(code)
    for span in (
        (0x034F, 0x034F),
        (0x115F, 0x1160),
        (0x17B4, 0x17B5),
        (0x180B, 0x180F),
        (0x2800, 0x2800),
        (0x3164, 0x3164),
        (0xFE00, 0xFE0F),
        (0xFFA0, 0xFFA0),
        (0xE0100, 0xE01EF),
    )
    for code in range(span[0], span[1] + 1)
)


def printable(text: str, *, encoding: str = "utf-8", limit: int = MAX_CHARACTERS) -> str:
    """``text`` as one harmless line of at most ``limit`` characters of the original, and a note if there were more."""
    kept, left = text[:limit], len(text) - limit
    shown = _no_command(kept if kept.isascii() and kept.isprintable() else _escaped(kept, encoding))
    return f"{shown} [+{left} characters]" if left > 0 else shown


def printable_lines(
    text: str, *, encoding: str = "utf-8", max_lines: int, limit: int = MAX_CHARACTERS
) -> tuple[list[str], int]:
    """The first ``max_lines`` lines of ``text``, each made harmless, and how many lines were left out."""
    lines = text.expandtabs(4).rstrip("\n").split("\n")
    return [printable(line, encoding=encoding, limit=limit) for line in lines[:max_lines]], max(
        0, len(lines) - max_lines
    )


def _no_command(text: str) -> str:
    if "::" in text:
        text = text.replace("::", "\\x3a:") if text.count("::") > 1 else _COLONS.sub(r"\\x3a:", text)
    return _HASHES.sub(r"#\\x23", text) if "##" in text else text


def _escaped(text: str, encoding: str) -> str:
    parts: list[str] = []
    marks = 0
    for character in text:
        marks = marks + 1 if unicodedata.category(character) in {"Mn", "Me"} else 0
        visible = character.isprintable() and character not in _INVISIBLE and marks <= MAX_MARKS
        parts.append(character if visible and can_show(character, encoding) else _escape(character))
    return "".join(parts)


def can_show(text: str, encoding: str) -> bool:
    """Whether ``text`` can be written in ``encoding``."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _escape(character: str) -> str:
    code = ord(character)
    if character in _SHORT:
        return _SHORT[character]
    if character in _SPELLED:
        return _SPELLED[character]
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
