"""Where the policy comes from, and whom it trusts.

Rules it keeps:

1. ``--policy`` names the file. Without it, that is the nearest ``aiverify.toml``, or ``pyproject.toml`` with a table
   ``[tool.aiverify]``, from the working directory upwards; the file that ``AIVERIFY_POLICY`` names comes on top and may
   only tighten.
2. A file inside a TARGET is never read: one that was found there is passed over, and the search goes on above; one that
   was named is refused. The folder of a TARGET that is a file counts as inside, because it may have come with it. So do
   the Hub's cache and the folder that a repository is downloaded into.
3. A file lies wherever its name says and wherever a link on the way leads: a link inside a TARGET to a file outside is
   the TARGET's choice, and so is a link to a file inside.
"""

from __future__ import annotations

import contextlib
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from aiverify.errors import UsageError
from aiverify.policy import DEFAULT_POLICY, Policy, PolicyError, read_policy

_TRUE = frozenset(("1", "true", "yes", "on"))
_FALSE = frozenset(("", "0", "false", "no", "off"))
_MAX_LINKS = 40  # as the kernel has it


def load_policy(
    targets: Sequence[str],
    *,
    explicit: Path | None = None,
    downloads: Sequence[Path | None] = (),
    environment: Mapping[str, str] | None = None,
    working_directory: Path | None = None,
) -> Policy:
    """The policy in force for ``targets``. ``downloads`` are folders that files of a repository are brought into.

    Raises PolicyError and UsageError.
    """
    environment = os.environ if environment is None else environment
    untrusted = [*_folders(targets), *_caches(environment), *(path for path in downloads if path is not None)]
    untrusted = [place for folder in untrusted for place in _places(folder)]
    if explicit is not None:
        policy = _named(explicit, untrusted, may_weaken=True)
    else:
        policy = _found(working_directory or _working_directory(), untrusted)
        named = environment.get("AIVERIFY_POLICY")
        if named:
            policy = policy.tightened_by(_named(Path(named), untrusted, may_weaken=False))
    if _flag(environment, "AIVERIFY_REQUIRE_SIGNATURE"):
        policy = policy.requiring_signature("AIVERIFY_REQUIRE_SIGNATURE")
    return policy


def named_policy(path: Path, target: str, downloads: Sequence[Path | None] = ()) -> Policy:
    """The policy in the file ``path`` and nowhere else. Raises PolicyError, and UsageError if it lies in ``target``."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("AIVERIFY_")}
    return load_policy([target], explicit=path, downloads=downloads, environment=others)


def require_outside(path: Path, targets: Sequence[str], what: str, downloads: Sequence[Path | None] = ()) -> None:
    """Raise UsageError if the file ``path``, which is a ``what``, lies in a target or where repositories are kept."""
    folders = [*_folders(targets), *_caches(os.environ), *(folder for folder in downloads if folder is not None)]
    if _inside(path, [place for folder in folders for place in _places(folder)]):
        raise UsageError(
            f"{path}: a {what} from inside a target is not used", hint=f"Keep the {what} outside what it speaks of."
        )


def _named(path: Path, untrusted: Sequence[Path], *, may_weaken: bool) -> Policy:
    if _inside(path, untrusted):
        raise UsageError(
            f"{path}: a policy from inside a target is not read", hint="Keep the policy outside what it judges."
        )
    return read_policy(path, may_weaken=may_weaken, table=_table(path))


def _found(start: Path, untrusted: Sequence[Path]) -> Policy:
    for folder in (start, *start.parents):
        for path in (folder / "aiverify.toml", folder / "pyproject.toml"):
            if _is_file(path) and not _inside(path, untrusted) and _is_ours(path):
                return read_policy(path, table=_table(path))
    return DEFAULT_POLICY


def _table(path: Path) -> str | None:
    return "tool.aiverify" if path.name == "pyproject.toml" else None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a folder above that may not be searched
        return False


def _is_ours(path: Path) -> bool:
    """Whether the file speaks of us. A pyproject.toml that is broken and does not mention us is others' business."""
    if path.name != "pyproject.toml":
        return True
    try:
        text = path.read_text("utf-8", errors="replace")
    except OSError:
        return False
    try:
        tool = tomllib.loads(text).get("tool", {})
    except (ValueError, RecursionError):
        return "aiverify" in text
    return isinstance(tool, dict) and "aiverify" in tool


def _working_directory() -> Path:
    try:
        return Path.cwd()
    except OSError as error:
        raise UsageError("the working directory is gone", hint="Change to one that exists.") from error


def _flag(environment: Mapping[str, str], name: str) -> bool:
    value = environment.get(name, "").strip().lower()
    if value not in _TRUE | _FALSE:
        raise UsageError(f"{name}={environment[name]}: must be true or false", hint="Set it to 1, or unset it.")
    return value in _TRUE


def _folders(targets: Sequence[str]) -> Iterator[Path]:
    """The folders that local targets lie in."""
    for path in map(Path, targets):
        if os.path.isdir(path):  # noqa: PTH112 - pathlib's raises for a name that is too long
            yield path
        elif os.path.lexists(path):
            yield path.parent
            yield Path(os.path.realpath(path)).parent


def _caches(environment: Mapping[str, str]) -> Iterator[Path]:
    """Where the Hub's client keeps its cache, by its own rules."""
    home = environment.get("HF_HOME") or f"{environment.get('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    for cache in (environment.get("HF_HUB_CACHE"), environment.get("HUGGINGFACE_HUB_CACHE"), f"{home}/hub"):
        if cache:
            yield Path(os.path.expanduser(cache))  # noqa: PTH111 - pathlib's raises when there is no home


def _inside(path: Path, folders: Sequence[Path]) -> bool:
    return any(place.is_relative_to(folder) for place in _places(path) for folder in folders)


def _places(path: Path) -> Iterator[Path]:
    """Where ``path`` lies: by its name, by each link on the way, and in the end."""
    place = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow the links that are looked for
    for _ in range(_MAX_LINKS):
        yield place
        link = next((part for part in (*reversed(place.parents), place) if os.path.islink(part)), None)  # noqa: PTH114
        if link is None:
            break
        leads_to = link.parent / os.readlink(link) / place.relative_to(link)  # noqa: PTH115 - as above
        place = Path(os.path.abspath(leads_to))  # noqa: PTH100
    with contextlib.suppress(ValueError):  # no path at all
        yield Path(os.path.realpath(path))


__all__ = ["PolicyError", "load_policy", "named_policy", "require_outside"]
