"""A Hub that lies on request: LocalHub with one knob per way in which a server can break its word.

Without a knob it is honest, and still useful: it keeps a record of the requests it got.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import _tree_cache, constants

from aiverify.demo.hub import LocalHub, refusal
from aiverify.demo.loopback import Answer, Request
from aiverify.demo.repository import HubFile, Repository
from aiverify.sources.hubclient import patience

HELD_BACK = 10


class LyingHub(LocalHub):
    """``about`` is the path that a lie is about; without it, the lie is about every file.

    - ``body``: ``flip`` (one bit, same length), ``shorter``, ``longer`` (with matching Content-Length), ``cut`` (breaks
      off half way), ``mixed`` (breaks off half way, and goes on with other bytes), ``endless``, ``silent`` (one piece,
      and nothing more until it closes); each ``times`` times
    - ``status``: an error status instead of the bytes, ``times`` times, with ``status_headers``
    - ``head``: headers of the HEAD answer to replace; ``None`` drops one
    - ``entry``: fields of the listing entry to replace; ``extra``: whole entries to add
    - ``info`` and ``listing``: the whole body of that answer
    - ``refuse``: the answer to every API request
    - ``hang``: the kinds of request (``info``, ``tree``, ``HEAD``, ``GET``, ``xet``) that get no answer until it closes
    - ``busy``: how often the kinds of request (``info``, ``tree``) get ``busy_status`` with ``status_headers``
    - ``relocate``: the files move within the Hub first, as renamed repositories do (no lie)
    """

    def __init__(
        self,
        root: Path,
        *,
        about: str | None = None,
        body: str | None = None,
        times: int = 1_000_000,
        status: int | None = None,
        status_headers: Mapping[str, str] | None = None,
        head: Mapping[str, str | None] | None = None,
        entry: Mapping[str, object] | None = None,
        extra: Iterable[Mapping[str, object]] = (),
        info: bytes | None = None,
        listing: bytes | None = None,
        refuse: Answer | None = None,
        hang: Collection[str] = (),
        busy: Mapping[str, int] | None = None,
        busy_status: int = 503,
        relocate: bool = False,
        **honest: Any,
    ) -> None:
        super().__init__(root, **honest)
        self.requests: list[Request] = []
        self.cdn_requests: list[Request] = []
        self._about = about
        self._body = body
        self._left = itertools.repeat(True, times)
        self._status = status
        self._status_headers = status_headers or {}
        self._head = head or {}
        self._entry = entry or {}
        self._extra = [dict(each) for each in extra]
        self._info = info
        self._listing = listing
        self._refuse = refuse
        self._hang = hang
        self._busy = {kind: itertools.repeat(True, times) for kind, times in (busy or {}).items()}
        self._busy_status = busy_status
        self._relocate = relocate
        self._closing = threading.Event()

    def __exit__(self, *exception: object) -> None:
        self._closing.set()
        super().__exit__(*exception)

    def answer(self, request: Request) -> Answer:
        self.requests.append(request)
        if self._relocate and not request.path.startswith(("/api/", "/moved/")):
            told = {"Location": f"/moved{request.path}", "ETag": '"of the redirect"'}
            return Answer(status=307, headers=told)
        if request.path.startswith("/moved/"):
            request = Request(
                method=request.method,
                path=request.path.removeprefix("/moved"),
                query=request.query,
                headers=request.headers,
            )
        return super().answer(request)

    def answer_cdn(self, request: Request) -> Answer:
        self.cdn_requests.append(request)
        return super().answer_cdn(request)

    def model_info(self, request: Request, repository: Repository) -> Answer:
        self._wait("info")
        if self._is_busy("info"):
            return refusal(self._busy_status, "", "", self._status_headers)
        if self._refuse is not None:
            return self._refuse
        return super().model_info(request, repository) if self._info is None else _raw(self._info)

    def tree(self, request: Request, repository: Repository, folder: str) -> Answer:
        self._wait("tree")
        if self._is_busy("tree"):
            return refusal(self._busy_status, "", "", self._status_headers)
        if self._refuse is not None:
            return self._refuse
        return super().tree(request, repository, folder) if self._listing is None else _raw(self._listing)

    def entry(self, file: HubFile) -> dict[str, object]:
        stated = super().entry(file)
        if not self._lies_about(file):
            return stated
        return stated | {name: value for name, value in self._entry.items() if value is not None}

    def listed(self, repository: Repository) -> list[dict[str, object]]:
        return [*super().listed(repository), *self._extra]

    def headers(self, repository: Repository, file: HubFile) -> dict[str, str]:
        headers = super().headers(repository, file)
        if self._lies_about(file):
            headers |= {name: value for name, value in self._head.items() if value is not None}
            headers = {name: value for name, value in headers.items() if self._head.get(name, value) is not None}
        return headers

    def resolve(self, request: Request, repository: Repository, path: str) -> Answer:
        if request.method == "HEAD":
            self._wait("HEAD")
        return super().resolve(request, repository, path)

    def content(self, request: Request, file: HubFile, headers: Mapping[str, str]) -> Answer:
        honest = super().content(request, file, headers)
        if request.method == "HEAD":
            return honest
        self._wait("GET")
        if not self._lies_about(file):
            return honest
        if self._status is not None and next(self._left, False):
            return refusal(self._status, "", "", self._status_headers)
        if self._body is not None and next(self._left, False):
            if self._body == "silent":
                return replace(honest, body=self._first_piece(honest))
            return _twisted(self._body, honest, file)
        return honest

    def _first_piece(self, honest: Answer) -> Iterator[bytes]:
        yield next(iter(honest.body))
        self._closing.wait()

    def unknown_entry(self, repository: Repository) -> Answer:
        self._wait("xet")  # the Hub would have a token for xet storage there
        return super().unknown_entry(repository)

    def _lies_about(self, file: HubFile) -> bool:
        return self._about in (None, file.path)

    def _is_busy(self, kind: str) -> bool:
        return kind in self._busy and next(self._busy[kind], False)

    def _wait(self, kind: str) -> None:
        if kind in self._hang:
            self._closing.wait()


def lead_client_to(hub: LocalHub, cache: Path, patch: pytest.MonkeyPatch) -> None:
    """Let the Hub's client in this process speak to ``hub`` and to nobody else, with a cache of its own."""
    patch.setattr(constants, "ENDPOINT", hub.endpoint)
    template = f"{hub.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    patch.setattr(constants, "HF_HUB_CACHE", str(cache))
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.setattr(constants, "HF_TOKEN_PATH", str(cache / "no-token"))
    patch.setattr(patience, "PAUSES", (0.0, 0.0))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "AIVERIFY_OFFLINE", "AIVERIFY_POLICY"):
        patch.delenv(name, raising=False)
    _tree_cache._IN_MEMORY_TREE_CACHE.clear()


def _twisted(how: str, honest: Answer, file: HubFile) -> Answer:
    content = b"".join(honest.body)
    length = len(content)
    match how:
        case "flip":
            content = bytes([content[0] ^ 1]) + content[1:]
        case "shorter":
            content, length = content[:-HELD_BACK], length - HELD_BACK
        case "longer":
            content, length = content + b"x" * HELD_BACK, length + HELD_BACK
        case "mixed" if honest.status == HTTPStatus.PARTIAL_CONTENT:
            content = bytes(length)
        case "cut" | "mixed":
            content = content[: length // 2]
        case "endless":
            return Answer(headers=honest.headers, length=1 << 40, body=_endless())
    return Answer(status=honest.status, headers=honest.headers, length=length, body=[content])


def _endless() -> Iterator[bytes]:
    while True:
        yield bytes(1 << 16)


def _raw(body: bytes) -> Answer:
    return Answer(headers={"Content-Type": "application/json"}, length=len(body), body=[body])
