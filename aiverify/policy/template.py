"""The policy file that ``aiverify policy init`` writes: valid as it is, with examples in its comments."""

from __future__ import annotations

from pathlib import Path

_LINE = 'profile = "default"'


def template(profile: str) -> str:
    """The text of the file, with the profile of this name."""
    text = Path(__file__).with_suffix(".toml").read_text("utf-8")
    return text.replace(f"\n{_LINE}\n", f'\nprofile = "{profile}"\n')
