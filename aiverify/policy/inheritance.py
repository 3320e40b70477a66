"""A policy that extends another one: what it may change of it.

The rules:

1. A file may be stricter than the one that it extends. It may weaken a key only if that one lists it under
   ``may_weaken``; another attempt is an error.
2. A list is added to the list above it. More demands (signers for other repositories, feeds) are stricter; more trust
   (waivers, trusted names, attestors, what may stay unexamined) weakens, and so do more signers where one is expected
   already, because any one is enough.
3. What a file may weaken it may let others weaken, and nothing else.
4. A table of ``[[overrides]]`` takes the place of its own file's settings. Of what stands above it may only make more
   strict what is locked, and what is said below counts for the repositories of the tables above, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aiverify.policy.file import PolicyFile
from aiverify.policy.keys import KEYS
from aiverify.policy.strictness import STRICTNESS
from aiverify.policy.values import BY_REPOSITORY, Override, Place, Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One value for a key of ``KEYS``. ``said_by`` is the key in the file that stands for it."""

    value: object
    said_by: str
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table of ``[[overrides]]``: the patterns of repositories, and the values by key."""

    repositories: tuple[str, ...]
    values: Mapping[str, object]
    said_by: str
    place: Place


def extended(
    above: Policy, file: PolicyFile, settings: Mapping[str, Setting], tables: Sequence[Table], unlocked: frozenset[str]
) -> Policy:
    """``above`` with what ``file`` says. Only keys that are ``unlocked`` may be weakened. Raises PolicyError."""
    for key, setting in settings.items():
        _require_leave(above, file, key, setting.value, setting.said_by, unlocked)
    values = {
        KEYS[key].field: STRICTNESS[KEYS[key].field].joined(getattr(above, KEYS[key].field), setting.value)
        for key, setting in settings.items()
    }
    places: dict[str, tuple[Place, ...]] = {KEYS[key].field: (setting.place,) for key, setting in settings.items()}
    for name, where in places.items():
        if isinstance(values[name], tuple) or name == "trusted_globals":
            places[name] = (*above.places.get(name, ()), *where)
    policy = replace(above, **values, places={**above.places, **places})
    _require_order(file, policy, {setting.said_by for setting in settings.values()})
    locked = {
        KEYS[key].field: setting.value
        for key, setting in settings.items()
        if key not in unlocked and KEYS[key].field in BY_REPOSITORY
    }
    overrides = list(above.overrides)
    if overrides and locked:
        overrides.append(Override(repositories=("*",), settings=tuple(locked.items()), tightens=True))
    for table in tables:
        overrides += _overrides(policy, file, table, unlocked)
    return replace(policy, overrides=tuple(overrides))


def _overrides(policy: Policy, file: PolicyFile, table: Table, unlocked: frozenset[str]) -> list[Override]:
    """A table, parted into what replaces and what may only be stricter."""
    for key, value in table.values.items():
        _require_leave(policy, file, key, value, f"{table.said_by}.{key}", unlocked)
    values: dict[str, Any] = {
        KEYS[key].field: STRICTNESS[KEYS[key].field].joined(getattr(policy, KEYS[key].field), value)
        for key, value in table.values.items()
    }
    _require_order(file, replace(policy, **values), {f"{table.said_by}.{key}" for key in table.values})
    free = tuple((KEYS[key].field, value) for key, value in table.values.items() if key in unlocked)
    bound = tuple((KEYS[key].field, value) for key, value in table.values.items() if key not in unlocked)
    return [
        Override(repositories=table.repositories, settings=settings, tightens=tightens, place=table.place)
        for settings, tightens in ((free, False), (bound, True))
        if settings
    ]


def _require_leave(
    above: Policy, file: PolicyFile, key: str, value: object, said_by: str, unlocked: frozenset[str]
) -> None:
    field = KEYS[key].field
    if key in unlocked or not STRICTNESS[field].weakens(getattr(above, field), value):
        return
    where = above.places.get(field)
    said = where[-1] if where else above.sources[-1].name
    raise file.error(
        said_by,
        f"weakens {said}, which does not list {key} under may_weaken",
        f'Be stricter, or have may_weaken = ["{key}"] written there.',
    )


def _require_order(file: PolicyFile, policy: Policy, said: set[str]) -> None:
    if policy.review_at.rank <= policy.block_at.rank:
        return
    for key in sorted(said, reverse=True):
        if key.endswith("review_at"):
            raise file.error(key, f"must not come after block_at ({policy.block_at})")
        if key.endswith("block_at"):
            raise file.error(key, f"must not come before review_at ({policy.review_at})")
    raise file.error("profile", f"review_at ({policy.review_at}) would come after block_at ({policy.block_at})")
