"""Borrowing the Hub client's shared HTTP session for a while, and giving it back as it was.

huggingface_hub has one session per process, made by a factory that a host program may have replaced (for its proxy or
its certificates). While at least one ``attached`` block is open,

- every watch sees all requests and answers of that session, also when the client throws it away and makes another;
- the client logs and warns nothing, and sends no word about the machine it runs on (its telemetry switch is off).

Nothing that is in use is closed or replaced, so downloads of the host program in other threads go on. The last block
to end takes everything back.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import httpx2
from huggingface_hub import constants
from huggingface_hub.utils import _http

if TYPE_CHECKING:
    from aiverify.sources.hubclient.watch import Watch

_lock = threading.Lock()
_blocks = 0
_watches: list[Watch] = []
_undo = contextlib.ExitStack()


@contextlib.contextmanager
def attached() -> Iterator[None]:
    """Use the session quietly; watches can be put on it with ``watching``."""
    global _blocks, _undo
    with _lock:
        if _blocks == 0:
            _undo = _take_over()
        _blocks += 1
    try:
        yield
    finally:
        with _lock:
            _blocks -= 1
            if _blocks == 0:
                _undo.close()


@contextlib.contextmanager
def watching(watch: Watch) -> Iterator[None]:
    """Let ``watch`` see the session's traffic; only inside an ``attached`` block."""
    with _lock:
        _watches.append(watch)
    try:
        yield
    finally:
        with _lock:
            _watches.remove(watch)


def _take_over() -> contextlib.ExitStack:
    with contextlib.ExitStack() as undo:
        logger = logging.getLogger("huggingface_hub")
        undo.callback(logger.setLevel, logger.level)
        logger.setLevel(logging.CRITICAL + 1)
        undo.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", module=r"huggingface_hub\b")
        undo.callback(setattr, constants, "HF_HUB_DISABLE_TELEMETRY", constants.HF_HUB_DISABLE_TELEMETRY)
        constants.HF_HUB_DISABLE_TELEMETRY = True
        undo.enter_context(_hooked_session())
        return undo.pop_all()


@contextlib.contextmanager
def _hooked_session() -> Iterator[None]:
    # The public set_client_factory() closes the session under everybody who uses it, and cannot be asked for the
    # factory that it replaces.
    hooked: list[httpx2.Client] = []
    with _http._CLIENT_LOCK:
        previous = _http._GLOBAL_CLIENT_FACTORY

        def factory() -> httpx2.Client:
            client = previous()
            _hook(client)
            hooked.append(client)
            return client

        _http._GLOBAL_CLIENT_FACTORY = factory
        if _http._GLOBAL_CLIENT is not None:
            _hook(_http._GLOBAL_CLIENT)
            hooked.append(_http._GLOBAL_CLIENT)
    try:
        yield
    finally:
        with _http._CLIENT_LOCK:
            if _http._GLOBAL_CLIENT_FACTORY is factory:
                _http._GLOBAL_CLIENT_FACTORY = previous
            for client in hooked:
                _unhook(client)


def _hook(client: httpx2.Client) -> None:
    hooks = client.event_hooks
    client.event_hooks = {
        "request": [*hooks.get("request", []), _on_request],
        "response": [_on_response, *hooks.get("response", [])],
    }


def _unhook(client: httpx2.Client) -> None:
    ours = (_on_request, _on_response)
    client.event_hooks = {
        moment: [hook for hook in hooks if hook not in ours] for moment, hooks in client.event_hooks.items()
    }


def _on_request(request: httpx2.Request) -> None:
    for watch in tuple(_watches):
        watch.on_request(request)


def _on_response(response: httpx2.Response) -> None:
    for watch in tuple(_watches):
        watch.on_response(response)
