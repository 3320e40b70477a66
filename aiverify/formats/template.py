"""Chat templates: programs in Jinja, run in a sandbox by the libraries that use them.

The check is lexical, on the whole text with escapes decoded: special attribute names, the filters and functions that
look up attributes by string, strings put together from pieces with underscores, and other templates. Ordinary templates
use none of these. Where Jinja is installed, its grammar is asked as well (``template_grammar``).
"""

from __future__ import annotations

import re

from aiverify.formats.template_grammar import escapes

#: Characters of one template, and of all templates of one file. The longest in use have some tens of thousands; what a
#: hostile one costs is seconds for each mebibyte.
MAX_TEMPLATE = 256 << 10
MAX_TEMPLATES = 1 << 20
_SUSPICIOUS = (
    re.compile(
        r"__(?:class|mro|base|bases|subclasses|globals|builtins|import|init|dict|getattribute|getattr|code|call|self"
        r"|module|reduce|reduce_ex|loader|spec|name|qualname|closure|new|del|enter|exit)__"
    ),
    re.compile(r"\|\s*attr\b"),
    re.compile(r"\b(?:getattr|setattr|func_globals|gi_frame|gi_code|cr_frame|f_globals|f_builtins|tb_frame)\b"),
    re.compile(r"\b(?:cycler|joiner|lipsum)\s*[.\[]"),
    re.compile(r"(?:['\"][^'\"\n]{0,40}__|__[^'\"\n]{0,40}['\"])[^'\"\n]{0,40}['\"]?\s{0,40}(?:[~+]|\|\s*join)"),
    re.compile(r"\{%-?\s*(?:include|import|from|extends)\b"),
)
_ESCAPE = re.compile(r"\\x([0-9a-fA-F]{2})|\\u([0-9a-fA-F]{4})|\\U([0-9a-fA-F]{8})|\\([0-7]{1,3})")


def suspicious(text: str) -> str | None:
    """What is wrong with a template, ``None`` when nothing is."""
    if len(text) > MAX_TEMPLATE:
        return f"a template of {len(text)} characters"
    decoded = _ESCAPE.sub(_character, text)
    for pattern in _SUSPICIOUS:
        found = pattern.search(decoded)
        if found is not None:
            return f"it uses {found[0][:80]!r}"
    return escapes(text)


def _character(match: re.Match[str]) -> str:
    *hexadecimal, octal = match.groups()
    code = int(octal, 8) if octal else int(next(filter(None, hexadecimal)), 16)
    return chr(code) if code <= 0x10FFFF else match[0]
