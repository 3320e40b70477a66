"""A small HTTP server on the loopback interface: requests as values in, answers as values out.

The rules:

- It binds 127.0.0.1 at a port that the system chooses, and prints nothing.
- Bodies are produced piece by piece; no file is ever held in memory.
- An answer that yields fewer bytes than it announced ends with a closed connection, as a cut line would.
- ``close`` ends every open connection and waits for the threads behind them.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

MAX_REQUEST_BODY = 1 << 20
IDLE_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request. ``path`` is as sent, still percent-encoded; header names are lower case."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer. ``length`` is announced as Content-Length, in bytes; a HEAD request gets it without the body."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int = 0
    body: Iterable[bytes] = ()


class Loopback:
    """Serves ``answer`` until it is closed."""

    def __init__(self, answer: Callable[[Request], Answer]) -> None:
        self._server = _Server(answer)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        """Stop listening, end every connection and wait for their threads."""
        self._server.shutdown()
        self._thread.join()
        self._server.hang_up()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # so that server_close() waits for them

    def __init__(self, answer: Callable[[Request], Answer]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self._open: set[socket.socket] = set()

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing: a client that goes away is no event here."""

    def hang_up(self) -> None:
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    disable_nagle_algorithm = True  # head and body are sent apart; the body need not wait for an acknowledgement
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
        """Says nothing."""

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if length > MAX_REQUEST_BODY:
            self._send(Answer(status=413))
            self.close_connection = True
            return
        parts = urlsplit(self.path)
        self._send(
            self.server.answer(
                Request(
                    method=self.command,
                    path=parts.path,
                    query=parse_qs(parts.query),
                    headers={name.lower(): value for name, value in self.headers.items()},
                    body=self.rfile.read(length),
                )
            )
        )

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(answer.length))
        self.end_headers()
        if self.command == "HEAD":
            return
        sent = 0
        for piece in answer.body:
            self.wfile.write(piece)
            sent += len(piece)
        if sent != answer.length:
            self.close_connection = True

    do_GET = do_HEAD = do_POST = _serve  # noqa: N815 - http.server looks for these names
