"""Where the policy comes from, and whom it trusts.

Rules it keeps:

1. ``--policy`` names the file. Without it, ``AIVERIFY_POLICY`` does, and may only tighten. Without that, the nearest
   ``aiverify.toml``, or ``pyproject.toml`` with a table ``[tool.aiverify]``, from the working directory upwards.
2. A file inside a TARGET is never read: a configuration that was found there is passed over, one that was named is
   refused. The folder of a TARGET that is a file counts as inside, because it may have come with it. So does the Hub's
   cache.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from aiverify.errors import UsageError
from aiverify.policy import DEFAULT_POLICY, Policy, PolicyError, read_policy

_TRUE = frozenset(("1", "true", "yes", "on"))


def load_policy(
    targets: Sequence[str],
    *,
    explicit: Path | None = None,
    environment: Mapping[str, str] | None = None,
    working_directory: Path | None = None,
) -> Policy:
    """The policy in force for ``targets``. Raises PolicyError and UsageError."""
    environment = os.environ if environment is None else environment
    untrusted = [*_folders(targets), *_caches(environment)]
    policy = _policy(untrusted, explicit, environment, working_directory or Path.cwd())
    if environment.get("AIVERIFY_REQUIRE_SIGNATURE", "").lower() in _TRUE:
        policy = policy.requiring_signature("AIVERIFY_REQUIRE_SIGNATURE")
    return policy


def _policy(untrusted: list[Path], explicit: Path | None, environment: Mapping[str, str], start: Path) -> Policy:
    named = environment.get("AIVERIFY_POLICY")
    if explicit is not None or named:
        path = explicit or Path(str(named))
        if _inside(path, untrusted):
            raise UsageError(
                f"{path}: a policy from inside a target is not read", hint="Keep the policy outside what it judges."
            )
        return read_policy(path, may_weaken=explicit is not None)
    found = _nearest(start)
    if found is None or _inside(found, untrusted):
        return DEFAULT_POLICY
    return read_policy(found, table="tool.aiverify" if found.name == "pyproject.toml" else None)


def _nearest(start: Path) -> Path | None:
    for folder in (start, *start.parents):
        own, project = folder / "aiverify.toml", folder / "pyproject.toml"
        if own.is_file():
            return own
        if project.is_file() and _has_table(project):
            return project
    return None


def _has_table(project: Path) -> bool:
    """Whether a pyproject.toml speaks of us. One that cannot be read is not ours to complain about."""
    try:
        tool = tomllib.loads(project.read_text("utf-8")).get("tool", {})
    except (OSError, ValueError):
        return False
    return isinstance(tool, dict) and "aiverify" in tool


def _folders(targets: Sequence[str]) -> list[Path]:
    """The folders that local targets lie in."""
    paths = [Path(target) for target in targets if Path(target).exists()]
    return [(path if path.is_dir() else path.parent).resolve() for path in paths]


def _caches(environment: Mapping[str, str]) -> list[Path]:
    home = Path(environment.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    return [Path(environment.get("HF_HUB_CACHE") or home / "hub").resolve()]


def _inside(path: Path, folders: list[Path]) -> bool:
    resolved = path.resolve()
    return any(resolved.is_relative_to(folder) for folder in folders)


__all__ = ["PolicyError", "load_policy"]
