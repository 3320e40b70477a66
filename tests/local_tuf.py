"""A TUF repository on loopback, for tests: a trusted root, and a signing configuration, under keys of its own."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Targets, Timestamp

ROLES = ("root", "timestamp", "snapshot", "targets")
TARGET = "trusted_root.json"
SIGNING_CONFIG = "signing_config.v0.2.json"


class LocalTuf:
    """The repository. ``publish`` replaces the trusted root; ``files`` is what is served, by path."""

    def __init__(self, content: bytes, *, lifetime: timedelta = timedelta(days=30)) -> None:
        self._expires = datetime.now(UTC).replace(microsecond=0) + lifetime
        self._signer = CryptoSigner.generate_ecdsa()
        root = Root(expires=self._expires, consistent_snapshot=False)
        for role in ROLES:
            root.add_key(self._signer.public_key, role)
        self.root = self._signed(root)
        self.files: dict[str, bytes] = {"1.root.json": self.root}
        self.requests: list[str] = []
        self.publish(content)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> LocalTuf:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def publish(
        self, content: bytes, *, version: int = 1, name: str = TARGET, signing_config: bytes | None = None
    ) -> None:
        """Serve ``content`` as the trusted root, with metadata of this ``version``."""
        served = {name: content} | ({} if signing_config is None else {SIGNING_CONFIG: signing_config})
        described = {one: TargetFile.from_data(one, data, ["sha256"]) for one, data in served.items()}
        targets = Targets(version=version, expires=self._expires, targets=described)
        snapshot, timestamp = (
            Snapshot(version=version, expires=self._expires),
            Timestamp(version=version, expires=self._expires),
        )
        snapshot.meta["targets.json"].version = timestamp.snapshot_meta.version = version
        for role, signed in {"targets": targets, "snapshot": snapshot, "timestamp": timestamp}.items():
            self.files[f"{role}.json"] = self._signed(signed)
        self.files |= {f"targets/{one}": data for one, data in served.items()}

    def _signed(self, signed: Root | Targets | Snapshot | Timestamp) -> bytes:
        metadata = Metadata(signed)
        metadata.sign(self._signer)
        return metadata.to_bytes()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        repository = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                path = self.path.lstrip("/")
                repository.requests.append(path)
                content = repository.files.get(path)
                self.send_response(200 if content is not None else 404)
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()
                self.wfile.write(content or b"")

        return Handler
