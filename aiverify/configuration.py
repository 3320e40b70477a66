"""Where the policy comes from, and whom it trusts.

Rules it keeps:

1. ``--policy`` names the file. Without it, that is the nearest ``aiverify.toml``, or ``pyproject.toml`` with a table
   ``[tool.aiverify]``, from the working directory upwards; the file that ``AIVERIFY_POLICY`` names comes on top and may
   only tighten.
2. A file inside a TARGET is never read: one that was found there is passed over, and the search goes on above; one that
   was named, or that a policy extends, is refused. The folder of a TARGET that is a file counts as inside, because it
   may have come with it. So do the Hub's cache, a folder that is downloaded into, and what the store has sealed.
3. A file lies wherever its name says and wherever a link on the way leads: a link inside a TARGET to a file outside is
   the TARGET's choice, and so is a link to a file inside.
4. The network is asked for what a policy extends only where the caller says so.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from aiverify.errors import UsageError
from aiverify.files import read_at_most
from aiverify.policy import DEFAULT_POLICY, Policy, PolicyError
from aiverify.toml import parse_toml

_TRUE = frozenset(("1", "true", "yes", "on"))
_FALSE = frozenset(("", "0", "false", "no", "off"))
_STORE = "AIVERIFY_STORE"
_REPOSITORIES = ("models--", "datasets--", "spaces--", "kernels--")
_MAX_LINKS = 40  # as the kernel has it
_MAX_PROJECT = 1 << 20  # the largest pyproject.toml, in bytes


def load_policy(
    targets: Sequence[str],
    *,
    explicit: Path | None = None,
    downloads: Sequence[Path | None] = (),
    environment: Mapping[str, str] | None = None,
    working_directory: Path | None = None,
    online: bool = False,
) -> Policy:
    """The policy in force for ``targets``. ``downloads`` are folders that files of models are brought into.

    ``online`` allows to fetch what a policy extends; otherwise it must have been fetched before. Raises PolicyError and
    UsageError.
    """
    environment = os.environ if environment is None else environment
    files = _Files(_untrusted(targets, environment, downloads), online=online)
    if explicit is not None:
        policy = files.named(explicit)
    else:
        policy = files.found(working_directory or _working_directory())
        named = environment.get("AIVERIFY_POLICY")
        if named:
            policy = policy.tightened_by(files.named(Path(named), may_weaken=False))
    if _flag(environment, "AIVERIFY_REQUIRE_SIGNATURE"):
        policy = policy.requiring_signature("AIVERIFY_REQUIRE_SIGNATURE")
    return policy


def named_policy(path: Path, target: str, downloads: Sequence[Path | None] = ()) -> Policy:
    """The policy in the file ``path`` and nowhere else. Raises PolicyError, and UsageError if it lies in ``target``."""
    others = {name: value for name, value in os.environ.items() if name == _STORE or not name.startswith("AIVERIFY_")}
    return load_policy([target], explicit=path, downloads=downloads, environment=others)


def require_outside(path: Path, targets: Sequence[str], what: str, downloads: Sequence[Path | None] = ()) -> None:
    """Raise UsageError if the file ``path``, which is a ``what``, lies in a target or where repositories are kept."""
    if _inside(path, _untrusted(targets, os.environ, downloads)):
        raise UsageError(
            f"{path}: a {what} from inside a target is not used", hint=f"Keep the {what} outside what it speaks of."
        )


class _Files:
    """Policy files, read only from outside the folders that are ``untrusted``."""

    def __init__(self, untrusted: Sequence[Path], *, online: bool) -> None:
        self._untrusted = untrusted
        self._online = online

    def named(self, path: Path, *, may_weaken: bool = True) -> Policy:
        self._admit(path)
        return self._read(path, may_weaken=may_weaken)

    def found(self, start: Path) -> Policy:
        for folder in (start, *start.parents):
            for path in (folder / "aiverify.toml", folder / "pyproject.toml"):
                if _holds(path.is_file) and not _inside(path, self._untrusted) and _is_ours(path):
                    return self._read(path)
        return DEFAULT_POLICY

    def _read(self, path: Path, *, may_weaken: bool = True) -> Policy:
        from aiverify.policy.reading import read_policy, table_of  # many have no policy file

        if not self._online:
            return read_policy(path, may_weaken=may_weaken, table=table_of(path), admit=self._admit)
        from aiverify.policy.remote import fetched

        return read_policy(path, may_weaken=may_weaken, table=table_of(path), admit=self._admit, fetch=fetched)

    def _admit(self, path: Path) -> None:
        if _inside(path, self._untrusted):
            raise UsageError(
                f"{path}: a policy from inside a target is not read", hint="Keep the policy outside what it judges."
            )


def _holds(check: Callable[[], bool]) -> bool:
    """Whether ``check`` says so. A path that the system refuses to look at is nothing."""
    try:
        return check()
    except OSError:
        return False


def _is_ours(path: Path) -> bool:
    """Whether the file speaks of us. A pyproject.toml that is broken and does not mention us is others' business.

    One that is too long may mention us where nobody looked: the reader says that it is.
    """
    if path.name != "pyproject.toml":
        return True
    try:
        raw = read_at_most(path, _MAX_PROJECT)
    except OSError:
        return False
    try:
        tool = {"aiverify": {}} if len(raw) > _MAX_PROJECT else parse_toml(raw).get("tool", {})
    except (ValueError, RecursionError):
        return b"aiverify" in raw
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


def _untrusted(targets: Sequence[str], environment: Mapping[str, str], downloads: Sequence[Path | None]) -> list[Path]:
    """Every place in which files lie that somebody else may have written."""
    folders = [
        *_folders(targets),
        *_caches(environment),
        *_sealed(environment),
        *(folder for folder in downloads if folder is not None),
    ]
    return [place for folder in folders for place in _places(folder)]


def _folders(targets: Sequence[str]) -> Iterator[Path]:
    """The folders that local targets lie in."""
    for path in map(Path, targets):
        if _holds(path.is_dir):
            yield path
        elif os.path.lexists(path):
            yield path.parent
            yield Path(os.path.realpath(path)).parent


def _caches(environment: Mapping[str, str]) -> Iterator[Path]:
    """What the Hub's client keeps of repositories, in folders such as ``models--org--name``, by its own rules.

    What else lies in a folder that the environment calls the cache is the user's: no variable may hide a policy.
    """
    home = environment.get("HF_HOME") or f"{environment.get('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    for cache in (environment.get("HF_HUB_CACHE"), environment.get("HUGGINGFACE_HUB_CACHE"), f"{home}/hub"):
        if cache:
            yield from _repositories(_at_home(Path(cache)))


def _repositories(cache: Path) -> Iterator[Path]:
    try:
        names = os.listdir(cache)  # noqa: PTH208 - names are enough
    except OSError:
        yield cache  # what cannot be listed is not told apart
        return
    yield from (cache / name for name in names if name.startswith(_REPOSITORIES))


def _sealed(environment: Mapping[str, str]) -> Iterator[Path]:
    """Where the store keeps files of models, by its rules. Beside them lie fetched policies, which are the user's."""
    chosen = environment.get(_STORE) or f"{environment.get('XDG_CACHE_HOME') or '~/.cache'}/aiverify"
    for name in ("snapshots", "blobs"):
        yield _at_home(Path(chosen)) / name


def _at_home(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:  # there is no home: to the Hub's client, ~ is then the name of a folder
        return path


def _inside(path: Path, folders: Sequence[Path]) -> bool:
    return any(place.is_relative_to(folder) for place in _places(path) for folder in folders)


def _places(path: Path) -> Iterator[Path]:
    """Where ``path`` lies: by its name, by what each link on the way makes of it, and in the end."""
    whole = path.absolute()
    yield _straight(whole)
    done, rest, links = Path(whole.anchor), list(whole.parts[:0:-1]), 0
    while rest and links <= _MAX_LINKS:
        part = rest.pop()
        leads_to = None if part == ".." else _link(done / part)
        if leads_to is None:
            done = done.parent if part == ".." else done / part
            continue
        links += 1
        yield _straight(done.joinpath(part, *reversed(rest)))
        rest += reversed(leads_to.parts)
        if leads_to.is_absolute():
            done = Path(rest.pop())
    yield _straight(done.joinpath(*reversed(rest)))


def _straight(path: Path) -> Path:
    """The path without ``..``, by its name alone."""
    return Path(os.path.normpath(path))


def _link(path: Path) -> Path | None:
    """Where a link leads; ``None`` if it is none."""
    try:
        return path.readlink()
    except (OSError, ValueError):
        return None


__all__ = ["PolicyError", "load_policy", "named_policy", "require_outside"]
