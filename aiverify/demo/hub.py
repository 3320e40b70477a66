"""A Hub on this machine: folders served over the HTTP API that the Hub's own client speaks.

``LocalHub(root)`` serves ``root/<org>/<name>/`` (or ``root/<name>/``) as model repositories, for ``aiverify demo`` and
for tests. The protocol is the part of https://huggingface.co/docs/hub/api that downloads use: revision, tree,
paths-info and resolve. Large-file-storage (LFS) files are redirected to a second port, as the Hub does with its CDN.

The rules:

- Every kind of answer is a small method of its own, so that a subclass can answer otherwise.
- A name in a request only ever selects from what was found in ``root``; no path is built from it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, quote, unquote

from aiverify.demo.loopback import Answer, Loopback, Request
from aiverify.demo.repository import HubFile, Repository, Shelf, pieces

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_VERBS = ("revision", "tree", "paths-info", "resolve")


@dataclass(frozen=True, slots=True)
class _Place:
    """What a request's path speaks of: a repository, what is asked about it, a revision and a path."""

    name: str
    verb: str
    revision: str
    path: str

    @classmethod
    def of(cls, url_path: str) -> Self:
        # Taken apart before it is unquoted: a revision may hold a quoted slash.
        segments = url_path.strip("/").split("/")
        api = segments[:2] == ["api", "models"]
        segments = [unquote(segment) for segment in (segments[2:] if api else segments)]
        size = 1 if len(segments) < 2 or segments[1] in _VERBS else 2
        name, rest = "/".join(segments[:size]), segments[size:]
        if len(rest) < 2:
            return cls(name, "info" if api and not rest else "nothing", "main", "")
        verb = rest[0] if api == (rest[0] != "resolve") else "nothing"
        return cls(name, verb, rest[1], "/".join(rest[2:]))


class LocalHub:
    """A context manager that serves ``root`` while it is open. ``endpoint`` is what to pass as HF_ENDPOINT.

    ``refs`` are the names that lead to the one commit of every repository. ``gated`` repositories show their listing
    to everybody and their files only to ``token``; ``private`` ones show nothing without it. ``page`` is the number of
    entries per page of a tree.

    ``earlier`` are folders with what a repository was before: each is one more commit of it, which no ref leads to.
    ``created`` says when a repository was made, ``moved`` maps names that it had before to the one that it has, and
    ``scans`` is what the Hub's scanners say, by repository and path. All of them may be changed while it runs.
    """

    def __init__(
        self,
        root: Path,
        *,
        refs: Collection[str] = ("main",),
        gated: Collection[str] = (),
        private: Collection[str] = (),
        token: str = "hf_local",  # noqa: S107 - not a secret: it opens a server on this machine
        page: int = 1000,
        earlier: Mapping[str, Sequence[Path]] | None = None,
        created: Mapping[str, str] | None = None,
        moved: Mapping[str, str] | None = None,
        scans: Mapping[str, Mapping[str, object]] | None = None,
    ) -> None:
        self._root = root
        self._refs = refs
        self._gated = gated
        self._private = private
        self._token = token
        self._page = page
        self.earlier = dict(earlier or {})
        self.created = dict(created or {})
        self.moved = dict(moved or {})
        self.scans = dict(scans or {})
        self._shelf = Shelf()

    def __enter__(self) -> Self:
        self._hub = Loopback(self.answer)
        self._cdn = Loopback(self.answer_cdn)
        return self

    def __exit__(self, *exception: object) -> None:
        self._hub.close()
        self._cdn.close()

    @property
    def endpoint(self) -> str:
        """The address of the Hub, without a slash at the end."""
        return self._hub.url

    @property
    def cdn(self) -> str:
        """The address that LFS files are redirected to."""
        return self._cdn.url

    def repository(self, name: str) -> Repository | None:
        """The repository of that name as it lies in ``root`` now."""
        parts = self.moved.get(name, name).split("/")
        folder = self._root.joinpath(*parts)
        if len(parts) > 2 or not all(_NAME.fullmatch(part) for part in parts) or not folder.is_dir():
            return None
        return self._shelf.repository("/".join(parts), folder)

    def at(self, name: str, revision: str) -> Repository | None:
        """The repository of that name at one of its commits or refs."""
        repository = self.repository(name)
        if repository is None or revision in self.revisions(repository):
            return repository
        before = (self._shelf.repository(repository.name, folder) for folder in self.earlier.get(repository.name, ()))
        return next((one for one in before if one.commit == revision), None)

    def answer(self, request: Request) -> Answer:
        """The answer to one request to the Hub."""
        place = _Place.of(request.path)
        repository = self.repository(place.name)
        if repository is None or not self._sees(request, repository):
            return self.unknown_repository(request)
        repository = self.at(place.name, place.revision)
        if repository is None:
            return self.unknown_revision(request)
        match place.verb:
            case "info" | "revision":
                return self.model_info(request, repository)
            case "tree":
                return self.tree(request, repository, place.path)
            case "paths-info":
                return self.paths_info(request, repository)
            case "resolve":
                return self.resolve(request, repository, place.path)
        return self.unknown_entry(repository)

    def answer_cdn(self, request: Request) -> Answer:
        """The answer to one request to the CDN: the bytes behind a redirect."""
        where, _, path = unquote(request.path.strip("/")).partition("//")
        name, _, commit = where.rpartition("@")
        repository = self.at(name, commit)
        if repository is None or path not in repository.files:
            return refusal(404, "", "Not found")
        return self.content(request, repository.files[path], {"ETag": '"cdn"'})

    def revisions(self, repository: Repository) -> Collection[str]:
        """Every name that leads to the commit."""
        return {*self._refs, repository.commit}

    def model_info(self, request: Request, repository: Repository) -> Answer:
        """GET /api/models/REPO[/revision/REVISION]."""
        siblings: list[dict[str, object]] = []
        for file in repository.files.values():
            siblings.append({"rfilename": file.path})
            if request.query.get("blobs"):
                siblings[-1] |= {"size": file.size, "blobId": file.blob_id} | ({"lfs": file.lfs} if file.lfs else {})
        return document(
            {
                "id": repository.name,
                "modelId": repository.name,
                "sha": repository.commit,
                "private": repository.name in self._private,
                "gated": "manual" if repository.name in self._gated else False,
                "disabled": False,
                "downloads": 0,
                "likes": 0,
                "tags": [],
                "siblings": siblings,
                **({"createdAt": self.created[repository.name]} if repository.name in self.created else {}),
            }
        )

    def tree(self, request: Request, repository: Repository, folder: str) -> Answer:
        """GET /api/models/REPO/tree/REVISION[/FOLDER]."""
        recursive = request.query.get("recursive", ["false"])[0].lower() == "true"
        entries = [
            entry for entry in self.listed(repository) if _below(str(entry["path"]), folder, recursive=recursive)
        ]
        expand = request.query.get("expand", ["false"])[0].lower() == "true"
        if expand:
            told = self.scans.get(repository.name, {})
            entries = [entry | _scanned(told.get(str(entry["path"]))) for entry in entries]
        start = int(request.query.get("cursor", ["0"])[0])
        headers = {}
        if start + self._page < len(entries):
            parameters = f"recursive={recursive}&expand={expand}&cursor={start + self._page}"
            headers["Link"] = f'<{self.endpoint}{request.path}?{parameters}>; rel="next"'
        return document(entries[start : start + self._page], headers)

    def listed(self, repository: Repository) -> list[dict[str, object]]:
        """Every entry of the tree: the folders, then the files."""
        return [*_folders(repository), *(self.entry(file) for file in repository.files.values())]

    def entry(self, file: HubFile) -> dict[str, object]:
        """What a tree says about one file."""
        stated: dict[str, object] = {"type": "file", "oid": file.blob_id, "size": file.size, "path": file.path}
        return stated | ({"lfs": file.lfs} if file.lfs else {})

    def paths_info(self, request: Request, repository: Repository) -> Answer:
        """POST /api/models/REPO/paths-info/REVISION, with a form or a JSON body."""
        if request.headers.get("content-type", "").startswith("application/json"):
            paths = json.loads(request.body)["paths"]
        else:
            paths = parse_qs(request.body.decode())["paths"]
        return document([self.entry(repository.files[path]) for path in paths if path in repository.files])

    def resolve(self, request: Request, repository: Repository, path: str) -> Answer:
        """HEAD and GET /REPO/resolve/REVISION/PATH."""
        file = repository.files.get(path)
        if file is None:
            return self.unknown_entry(repository)
        if repository.name in self._gated and not self._authorised(request):
            return refusal(401, "GatedRepo", "Access to model is restricted")
        headers = self.headers(repository, file)
        if file.sha256 is None:
            return self.content(request, file, headers)
        location = f"{self.cdn}/{repository.name}@{repository.commit}//{quote(path)}"
        return Answer(status=302, headers={**headers, "Location": location})

    def headers(self, repository: Repository, file: HubFile) -> dict[str, str]:
        """What a HEAD request learns about a file."""
        headers = {"X-Repo-Commit": repository.commit, "ETag": f'"{file.blob_id}"'}
        if file.sha256 is not None:
            headers |= {"X-Linked-Etag": f'"{file.sha256}"', "X-Linked-Size": str(file.size)}
        return headers

    def content(self, request: Request, file: HubFile, headers: Mapping[str, str]) -> Answer:
        """The bytes of a file, or the stretch of them that a Range header asks for."""
        start, end = 0, file.size
        common = {**headers, "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        wanted = _RANGE.fullmatch(request.headers.get("range", ""))
        if wanted is None:
            return Answer(headers=common, length=end, body=pieces(file.location, 0, end))
        start = int(wanted[1])
        end = min(end, int(wanted[2]) + 1) if wanted[2] else end
        if start >= end:
            return Answer(status=416, headers={"Content-Range": f"bytes */{file.size}"})
        common["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"
        return Answer(status=206, headers=common, length=end - start, body=pieces(file.location, start, end))

    def unknown_repository(self, request: Request) -> Answer:
        """The Hub tells somebody without a token only that they are not authorised."""
        status = 404 if self._authorised(request) else 401
        return refusal(status, "RepoNotFound", "Repository not found")

    def unknown_revision(self, request: Request) -> Answer:
        """Neither a ref nor the commit."""
        return refusal(404, "RevisionNotFound", f"Invalid rev id: {request.path.rsplit('/', 1)[-1]}")

    def unknown_entry(self, repository: Repository) -> Answer:
        """No such file at this commit."""
        return refusal(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": repository.commit})

    def _authorised(self, request: Request) -> bool:
        return request.headers.get("authorization") == f"Bearer {self._token}"

    def _sees(self, request: Request, repository: Repository) -> bool:
        return repository.name not in self._private or self._authorised(request)


def document(value: object, headers: Mapping[str, str] | None = None) -> Answer:
    """A JSON answer."""
    body = json.dumps(value).encode()
    return Answer(headers={"Content-Type": "application/json", **(headers or {})}, length=len(body), body=[body])


def refusal(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Answer:
    """An error, told in the headers that the client looks at."""
    told = {"X-Error-Code": code, "X-Error-Message": message, **(headers or {})}
    body = json.dumps({"error": message or HTTPStatus(status).phrase}).encode()
    return Answer(status=status, headers=told, length=len(body), body=[body])


def _scanned(told: object) -> dict[str, object]:
    return {} if told is None else {"securityFileStatus": told}


def _folders(repository: Repository) -> list[dict[str, object]]:
    names = {"/".join(path.split("/")[:depth]) for path in repository.files for depth in range(1, path.count("/") + 1)}
    return [
        {"type": "directory", "oid": hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest(), "path": name}
        for name in sorted(names)
    ]


def _below(path: str, folder: str, *, recursive: bool) -> bool:
    prefix = f"{folder}/" if folder else ""
    return path.startswith(prefix) and (recursive or "/" not in path[len(prefix) :])
