"""Values of Python written as TOML, for tests: tables inline or spread over lines."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping


def name(key: str) -> str:
    """A key, or any other text, in quotes."""
    return json.dumps(key, ensure_ascii=False).replace("\x7f", "\\u007f")


def inline(value: object) -> str:
    """A value on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return name(value)
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, list):
        return f"[{', '.join(map(inline, value))}]"
    assert isinstance(value, dict), value
    return "{" + ", ".join(f"{name(key)} = {inline(item)}" for key, item in value.items()) + "}"


def document(content: Mapping[str, object]) -> str:
    """A whole file, one line for each key of the top level."""
    return "".join(f"{name(key)} = {inline(value)}\n" for key, value in content.items())
