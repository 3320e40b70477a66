"""A policy from a file, from the profile that it names, and from the files that it extends.

Rules it keeps:

1. Nothing of a file counts unless all of it is valid.
2. A file that is extended is named by its path, or by an address of the web with the SHA-256 of its content.
3. What weakens is refused from a source that may only tighten, whichever of the files says it.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from aiverify.policy.file import PROJECT_FILE, PROJECT_TABLE, PolicyFile, opened, parsed
from aiverify.policy.inheritance import Setting, Table, extended
from aiverify.policy.kept import from_cache
from aiverify.policy.keys import KEYS, STRUCTURE, TABLE_KEYS, as_names, as_table, as_tables, as_text, chosen, key_of
from aiverify.policy.strictness import STRICTNESS
from aiverify.policy.values import DEFAULT_POLICY, Policy, PolicyError

PROFILES = ("default", "strict", "permissive")
#: How many files may extend each other.
MAX_FILES = 8

#: Gives the content of an address that has this SHA-256, or raises PolicyError.
Fetch: TypeAlias = Callable[[str, str], bytes]
#: Raises an AiverifyError if a file must not be read.
Admit: TypeAlias = Callable[[Path], None]


def read_policy(
    path: Path,
    *,
    may_weaken: bool = True,
    table: str | None = None,
    admit: Admit | None = None,
    fetch: Fetch = from_cache,
) -> Policy:
    """The policy in the TOML file ``path``; ``table`` is the dotted table that holds it, as in ``pyproject.toml``.

    ``admit`` is asked about every file that is extended, and ``fetch`` for the content of addresses; without it only
    those are known that were fetched before. Raises PolicyError. Files are named relative to the file that names them.
    """
    file = opened(path, table)
    policy = _Reader(admit or (lambda _: None), fetch).policy(file, 1)
    if not may_weaken:
        _require_tightening(file, policy)
    return policy


def table_of(path: Path) -> str | None:
    """The dotted table that holds the policy in a file of this name; ``None`` if that is all of the file."""
    return PROJECT_TABLE if path.name == PROJECT_FILE else None


@functools.cache
def profile(name: str) -> Mapping[str, object]:
    """What the profile ``name`` says, by key. These values are valid in a policy file."""
    path = Path(__file__).parent / "profiles" / f"{name}.toml"
    return tomllib.loads(path.read_text("utf-8"))


class _Reader:
    def __init__(self, admit: Admit, fetch: Fetch) -> None:
        self._admit = admit
        self._fetch = fetch

    def policy(self, file: PolicyFile, depth: int) -> Policy:
        """What ``file`` says, which is the one of number ``depth`` in a chain of files."""
        content = as_table(file, "", file.content, (*KEYS, *STRUCTURE))
        above, unlocked = DEFAULT_POLICY, frozenset(KEYS)
        if "extends" in content:
            above = self._extended(file, content["extends"], depth)
            unlocked = above.unlocked
        settings = _profile_of(file, content) | {
            key: Setting(value=KEYS[key].read(file, key, value), said_by=key, place=file.place(key))
            for key, value in content.items()
            if key in KEYS
        }
        policy = extended(above, file, settings, _tables(file, content), unlocked)
        return _with(policy, file, above, self._unlocked(file, content, unlocked))

    def _unlocked(self, file: PolicyFile, content: Mapping[str, Any], unlocked: frozenset[str]) -> frozenset[str]:
        allowed = chosen(file, "may_weaken", content.get("may_weaken", []), tuple(KEYS))
        for number, key in enumerate(allowed):
            if key not in unlocked:
                problem = f"{key} is not under may_weaken of the file that this one extends"
                raise file.error(f"may_weaken[{number}]", problem)
        return frozenset(allowed)

    def _extended(self, file: PolicyFile, value: object, depth: int) -> Policy:
        if depth >= MAX_FILES:
            raise file.error("extends", f"more than {MAX_FILES} files extend each other")
        try:
            return self.policy(self._opened(file, value), depth + 1)
        except PolicyError as error:
            raise error if error.source else file.error("extends", str(error), error.hint) from None

    def _opened(self, file: PolicyFile, value: object) -> PolicyFile:
        if isinstance(value, dict):
            return self._fetched(file, value)
        if not isinstance(value, str) or not value:
            raise file.error("extends", 'must be a path, or { url = "https://…", sha256 = "…" }')
        if file.folder is None:
            raise file.error("extends", "the policy is not a file, and cannot name one")
        path = file.folder / value
        self._admit(path)
        return opened(path, table_of(path))

    def _fetched(self, file: PolicyFile, value: object) -> PolicyFile:
        said = as_table(file, "extends", value, ("url", "sha256"))
        for missing in sorted({"url", "sha256"} - set(said)):
            raise file.error("extends", f"needs {missing}")
        url, sha256 = as_text(file, "extends.url", said["url"]), as_text(file, "extends.sha256", said["sha256"])
        if not re.fullmatch(r"https://[^\s/][^\s]*", url):
            raise file.error("extends.url", "must be an address that begins with https://")
        if not re.fullmatch("[0-9a-f]{64}", sha256):
            raise file.error("extends.sha256", "must be 64 lower-case hex digits")
        return parsed(self._fetch(url, sha256), url, None)


def _profile_of(file: PolicyFile, content: Mapping[str, Any]) -> dict[str, Setting]:
    if "profile" not in content:
        return {}
    name = content["profile"]
    if not isinstance(name, str) or name not in PROFILES:
        raise file.error("profile", f"must be one of {', '.join(PROFILES)}")
    return {
        key: Setting(value=KEYS[key].read(file, key, value), said_by="profile", place=file.place("profile"))
        for key, value in profile(name).items()
    }


def _tables(file: PolicyFile, content: Mapping[str, Any]) -> list[Table]:
    return [
        _table(file, f"overrides[{number}]", item)
        for number, item in enumerate(as_tables(file, "overrides", content.get("overrides", [])))
    ]


def _table(file: PolicyFile, key: str, value: object) -> Table:
    said = as_table(file, key, value, ("repositories", *TABLE_KEYS))
    if "repositories" not in said or len(said) == 1:
        raise file.error(key, "needs repositories, and what holds for them")
    patterns = as_names(file, f"{key}.repositories", said.pop("repositories"))
    values = {name: KEYS[name].read(file, f"{key}.{name}", item) for name, item in said.items()}
    return Table(repositories=patterns, values=values, said_by=key, place=file.place(key))


def _with(policy: Policy, file: PolicyFile, above: Policy, unlocked: frozenset[str]) -> Policy:
    sources = (file.source,) if above is DEFAULT_POLICY else (*above.sources, file.source)
    return replace(policy, sources=sources, unlocked=unlocked)


def _require_tightening(file: PolicyFile, policy: Policy) -> None:
    said = [(name, getattr(policy, name), policy.places.get(name, ())) for name in STRICTNESS]
    for rule in policy.overrides:
        said += [(name, value, (rule.place,) if rule.place else ()) for name, value in rule.settings]
    for name, value, places in said:
        if STRICTNESS[name].weakens(getattr(DEFAULT_POLICY, name), value):
            place = places[-1] if places else file.place("")
            raise PolicyError(
                "weakens the policy, which the environment may not: give it with --policy",
                source=place.source,
                line=place.line,
                key=key_of(name),
            )
