"""What a Hub states about the files of one commit, parsed from its answers and from the client's cache.

The rules, which every listing that exists has passed:

- A path is relative, has no empty, ``.`` or ``..`` part, no backslash and no control character, and can be written as
  UTF-8 of at most ``MAX_PATH`` bytes, ``MAX_NAME`` per part. No path stands twice, and none is a folder of another.
- A git blob id is 40, a SHA-256 or xet hash 64 lower-case hex digits. The client makes file names of these.
- A size is a number of bytes from 0 to 2^63 - 1.
- An answer is at most ``MAX_ANSWER`` bytes, a listing at most ``MAX_FILES`` files.

A name or digest that breaks them is no mistake of an honest server and raises HostileSourceError (AIV102); an answer
that is not a listing at all raises SourceError. Nothing here opens a file or a connection.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from aiverify.rules import finding
from aiverify.sources.interface import HostileSourceError, SourceError

MAX_ANSWER = 16 << 20
MAX_FILES = 100_000
MAX_SIZE = (1 << 63) - 1
MAX_PATH = 2048
MAX_NAME = 255
CACHE_FORMAT = 1

COMMIT = re.compile(r"[0-9a-f]{40}")
SHA1 = re.compile(r"[0-9a-f]{40}")
SHA256 = re.compile(r"[0-9a-f]{64}")

_NAME = re.compile(r"[A-Za-z0-9._-]{1,96}(?:/[A-Za-z0-9._-]{1,96})?")
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SHOWN = 200
_NOT_A_HUB = "Check that the endpoint (HF_ENDPOINT) is a Hugging Face Hub, and that no proxy changes its answers."
_STAY_AWAY = "Check HF_ENDPOINT and the proxy in use. Do not download anything from this endpoint."


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedFile:
    """One file of a commit. For an LFS file ``sha256`` is of its bytes and ``blob_id`` of its pointer file."""

    path: str
    size: int
    blob_id: str
    sha256: str | None = None
    xet_hash: str | None = None

    @property
    def etags(self) -> frozenset[str]:
        """What the server may give as etag: the SHA-256 or, from servers without X-Linked-Etag, the blob id."""
        return frozenset({self.blob_id, self.sha256 or self.blob_id})


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the Hub says about a repository: the commit that was asked for, its name there, when it was made.

    ``name`` and ``created`` are ``None`` where the Hub says nothing, or nothing that has the form of it.
    """

    commit: str
    name: str | None = None
    created: str | None = None


Listing = Mapping[str, StatedFile]


def parse_standing(body: bytes, repo: str) -> Standing:
    """The answer to a question about a revision."""
    answer = json_answer(body, repo)
    commit = answer.get("sha") if isinstance(answer, dict) else None
    if not isinstance(answer, dict) or not isinstance(commit, str):
        raise malformed(repo, "it names no commit")
    return Standing(
        commit=require_digest(COMMIT, commit, repo, "a commit id"),
        name=_of_form(_NAME, answer.get("id")),
        created=_of_form(_TIME, answer.get("createdAt")),
    )


def _of_form(form: re.Pattern[str], value: object) -> str | None:
    return value if isinstance(value, str) and form.fullmatch(value) else None


def parse_page(body: bytes, repo: str) -> list[StatedFile]:
    """The files on one page of a tree; folders are left out."""
    entries = json_answer(body, repo)
    if not isinstance(entries, list):
        raise malformed(repo, "the file listing is no list")
    files = []
    for entry in entries:
        kind = entry.get("type") if isinstance(entry, dict) else None
        if kind == "file":
            files.append(_from_tree(entry, repo))
        elif kind != "directory":
            raise malformed(repo, "the file listing holds something that is neither file nor folder")
    return files


def parse_cached(body: bytes, repo: str) -> Listing | None:
    """The listing that the client wrote to its cache; ``None`` when it is of a format that is not known here."""
    content = json_answer(body, repo)
    files = content.get("files") if isinstance(content, dict) else None
    if not isinstance(content, dict) or content.get("format_version") != CACHE_FORMAT:
        return None
    if not isinstance(files, dict):
        raise malformed(repo, "the cached file listing is no table")
    return listing((_from_cache(path, entry, repo) for path, entry in files.items()), repo)


def listing(files: Iterable[StatedFile], repo: str) -> Listing:
    """The files by path, sorted, after the checks that need all of them."""
    found: dict[str, StatedFile] = {}
    for file in files:
        if file.path in found:
            raise hostile(repo, "the file listing names a file twice", file.path)
        found[file.path] = file
        if len(found) > MAX_FILES:
            raise SourceError(f"{repo} lists more than {MAX_FILES} files")
    for path in found:
        end = path.rfind("/")
        while end > 0:
            if path[:end] in found:
                raise hostile(repo, "the file listing names a file that is also a folder", path[:end])
            end = path.rfind("/", 0, end)
    return dict(sorted(found.items()))


def require_path(value: object, repo: str) -> str:
    """``value`` if it is a path that stays inside the folder it is joined to."""
    if not isinstance(value, str):
        raise malformed(repo, "a file has no name")
    parts = value.split("/")
    if {"", ".", ".."} & set(parts) or "\\" in value or _CONTROL.search(value) or not _is_unicode(value):
        raise hostile(repo, "the endpoint names a file as no repository can", value)
    if len(value.encode()) > MAX_PATH or any(len(part.encode()) > MAX_NAME for part in parts):
        raise SourceError(f"{repo} names a file with more than {MAX_PATH} bytes, or {MAX_NAME} between two slashes")
    return value


def require_digest(form: re.Pattern[str], value: object, repo: str, what: str) -> str:
    """``value`` if it has the form of a digest."""
    if not isinstance(value, str):
        raise malformed(repo, f"it lacks {what}")
    if not form.fullmatch(value):
        raise hostile(repo, f"the endpoint gives {what} that is none", value)
    return value


def hostile(repo: str, what: str, received: object, *, file: str | None = None) -> HostileSourceError:
    """The refusal of an answer that no honest server gives. ``received`` is quoted; a long value is only measured."""
    text = ascii(received)
    shown = text if len(text) <= _SHOWN else f"<{len(text)} characters>"
    message = f"{repo}: {what}: {shown}"
    return HostileSourceError(finding("AIV102", message, file=file, evidence={"received": shown}), hint=_STAY_AWAY)


def _from_tree(entry: Mapping[str, object], repo: str) -> StatedFile:
    lfs = entry.get("lfs")
    if lfs is not None and not isinstance(lfs, dict):
        raise malformed(repo, "an LFS entry is no table")
    # The size of an LFS file is stated twice; the one beside the digest speaks of the bytes that the digest is of.
    return _stated(
        repo,
        path=entry.get("path"),
        size=lfs.get("size") if lfs else entry.get("size"),
        blob_id=entry.get("oid"),
        sha256=lfs.get("oid") if lfs else None,
        is_lfs=lfs is not None,
        xet_hash=entry.get("xetHash"),
    )


def _from_cache(path: str, entry: object, repo: str) -> StatedFile:
    if not isinstance(entry, dict):
        raise malformed(repo, "an entry of the cached file listing is no table")
    is_lfs = entry.get("lfs_sha256") is not None
    return _stated(
        repo,
        path=path,
        size=entry.get("lfs_size") if is_lfs else entry.get("size"),
        blob_id=entry.get("blob_id"),
        sha256=entry.get("lfs_sha256"),
        is_lfs=is_lfs,
        xet_hash=entry.get("xet_hash"),
    )


def _stated(
    repo: str, *, path: object, size: object, blob_id: object, sha256: object, is_lfs: bool, xet_hash: object
) -> StatedFile:
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= MAX_SIZE:
        raise malformed(repo, "a file has no size")
    return StatedFile(
        path=require_path(path, repo),
        size=size,
        blob_id=require_digest(SHA1, blob_id, repo, "a git blob id"),
        sha256=require_digest(SHA256, sha256, repo, "a SHA-256") if is_lfs else None,
        xet_hash=None if xet_hash is None else require_digest(SHA256, xet_hash, repo, "a xet hash"),
    )


def json_answer(body: bytes, repo: str) -> object:
    """The value in an answer. Raises SourceError when it is no JSON."""
    try:
        value: object = json.loads(body)
    except (ValueError, RecursionError):
        raise malformed(repo, "it is not JSON") from None
    return value


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def malformed(repo: str, what: str) -> SourceError:
    """The error for an answer that is not what was asked for."""
    return SourceError(f"{repo}: the endpoint's answer makes no sense: {what}", hint=_NOT_A_HUB)
