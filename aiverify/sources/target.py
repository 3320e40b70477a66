"""What a TARGET on the command line means.

The rules, in this order:

- ``hf://org/name[@revision]`` is a Hub repository; only so can one without an organisation be named (``hf://gpt2``).
- ``.``, ``..`` and whatever starts with ``./``, ``../`` or ``/`` is a path.
- Whatever exists here is that folder or file, also when it could name a repository: an existing path wins. So does one
  that the system does not let us look at: nobody else's files are verified in the place of ours.
- ``org/name[@revision]`` is a Hub repository.
- Anything else is an error that names both ways out.

A revision that is given twice must be the same one, and a folder or file has none.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import stat
from pathlib import Path

from aiverify.errors import UsageError
from aiverify.sources.interface import HubOptions, Source, SourceError
from aiverify.sources.local import FileSource, FolderSource

HUB_SCHEME = "hf://"


def open_source(target: str, options: HubOptions) -> Source:
    """The source that ``target`` names. An existing folder or file wins over a Hub repository of that name.

    ``options`` hold for a Hub repository. Raises SourceError for a target that names nothing, and UsageError for one
    that contradicts ``options``. Nothing is read or sent yet.
    """
    if target.startswith(HUB_SCHEME):
        return _repository(target.removeprefix(HUB_SCHEME), options, target)
    if _is_path(target) or _may_be_here(target):
        if options.revision is not None:
            raise UsageError(
                f"{target!r} is a path, and a path has no revision",
                hint=f"Leave out --revision, or name the repository: {HUB_SCHEME}{target}",
            )
        return open_path(target)
    from aiverify.sources.hubclient.cache import is_repo  # only for those who have to do with the Hub

    if "/" in target.partition("@")[0] and is_repo(target.partition("@")[0]):
        return _repository(target, options, target)
    raise SourceError(
        f"{target!r} is neither a file or folder here nor a repository",
        hint="Check the path. A Hub repository is written org/name, or hf://name if it has no organisation.",
    )


def _is_path(target: str) -> bool:
    return target in (".", "..") or target.startswith(("./", "../", "/"))


def _may_be_here(target: str) -> bool:
    try:
        os.lstat(target)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError as error:
        return error.errno != errno.ENAMETOOLONG
    return True


def open_path(target: str) -> Source:
    """The folder or file ``target``, whatever else that could name. Raises SourceError. Nothing is read yet."""
    path = Path(target)
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
    except (OSError, ValueError) as error:
        if os.path.lexists(target):
            raise SourceError(f"the link {target!r} leads nowhere") from error
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise SourceError(f"{target!r} cannot be read: {reason}", hint="Check the path.") from error
    return FolderSource(path, target) if is_folder else FileSource(path, target)


def _repository(name: str, options: HubOptions, target: str) -> Source:
    from aiverify.sources.hub import HubSource

    repo, at, revision = name.partition("@")
    if at and not revision:
        raise UsageError(f"{target!r} ends where a revision is expected", hint="Write a branch, tag or commit after @.")
    if at and options.revision not in (None, revision):
        raise UsageError(f"{target!r} and --revision {options.revision} name different revisions", hint="Give one.")
    if at:
        options = dataclasses.replace(options, revision=revision)
    return HubSource(repo, options, target)
