"""Advisories: which versions they are about, which files they matter for, and where newer ones come from."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from fuzzing import effort
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from aiverify.advisories.loaders import loaders, vulnerable
from aiverify.advisories.osv import AdvisoryError, read_osv
from aiverify.advisories.snapshot import known, read_snapshot, shipped
from aiverify.advisories.update import update
from aiverify.advisories.versions import key
from aiverify.formats.interface import Format
from aiverify.installed import versions_of

VERSIONS = st.builds(
    "{}{}{}{}".format,
    st.lists(st.integers(0, 12), min_size=1, max_size=4).map(lambda parts: ".".join(map(str, parts))),
    st.sampled_from(["", "a1", "b2", "rc1", "rc3", ".rc2", "-alpha"]),
    st.sampled_from(["", ".post1", "-2"]),
    st.sampled_from(["", ".dev0", ".dev3"]),
)


@effort(300)
@given(VERSIONS, VERSIONS)
def test_versions_are_ordered_as_packaging_orders_them(one: str, other: str) -> None:
    assert (key(one) < key(other)) == (Version(one) < Version(other))
    assert (key(one) == key(other)) == (Version(one) == Version(other))


@given(st.text(max_size=50))
def test_any_text_is_a_version_or_an_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        key(text)


def entry(fixed: str = "2.0", package: str = "torch", name: str = "X-1", **more: Any) -> dict[str, Any]:
    ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": fixed}]}]
    affected = [{"package": {"ecosystem": "PyPI", "name": package}, "ranges": ranges}]
    return {"id": name, "summary": "it does harm", "affected": affected, **more}


@pytest.mark.parametrize(
    ("events", "inside", "outside"),
    [
        ([{"introduced": "0"}, {"fixed": "2.6.0"}], ["2.5.1", "2.6.0rc1", "0.1", "2.5.1+cpu"], ["2.6", "2.6.0", "3"]),
        ([{"introduced": "4.56.0"}, {"fixed": "5.3.0"}], ["4.56", "5.2.9"], ["4.55.4", "5.3.0"]),
        ([{"introduced": "1"}, {"last_affected": "2"}], ["1", "2"], ["2.0.1", "0.9"]),
        ([{"introduced": "0"}, {"fixed": "1"}, {"introduced": "3"}], ["0.5", "3", "9"], ["1", "2.9"]),
        ([{"introduced": "0"}], ["1"], []),
        ([{"introduced": "0"}, {"fixed": "not a version"}], ["1"], []),
        ([], [], ["1"]),
    ],
)
def test_a_range_holds_what_its_events_say(events: list[Any], inside: list[str], outside: list[str]) -> None:
    item = entry()
    item["affected"][0]["ranges"][0]["events"] = events
    (advisory,) = read_osv(item)
    assert [version for version in inside if not advisory.affects(version)] == []
    assert [version for version in outside if advisory.affects(version)] == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["id", "affected", "package", "ecosystem", "ranges", "events", "versions", "database_specific"]
            ),
            inner,
        )
    ),
    max_leaves=20,
)


@effort(200)
@given(JSON)
def test_any_value_is_an_advisory_or_an_error(value: object) -> None:
    with contextlib.suppress(AdvisoryError):
        read_osv(value)


def test_the_shipped_snapshot_is_dated_and_about_loaders_and_formats_that_are_known() -> None:
    snapshot = shipped()
    assert snapshot.date >= "2026-11-23"
    assert len(snapshot.advisories) >= 10
    for item in snapshot.advisories:
        assert item.package in loaders()
        assert item.summary
        assert item.ranges or item.versions
        assert set(item.formats) <= set(Format)
    assert {kind for loader in loaders().values() for kind in loader.get("formats", ())} <= set(Format)


def test_an_old_torch_matters_for_a_checkpoint_and_not_for_safetensors() -> None:
    advisories = shipped().advisories
    old = {"torch": "2.5.1+cpu", "transformers": "4.57.0"}
    said = list(vulnerable({"pytorch_model.bin": "torch-zip"}, advisories, old))
    assert [(item.rule, item.severity.value, item.evidence["id"]) for item in said] == [
        ("AIV701", "medium", "CVE-2025-32434"),
        ("AIV701", "medium", "CVE-2026-24747"),
    ]
    assert "2.6.0 is fixed" in said[0].message
    assert list(vulnerable({"model.safetensors": "safetensors"}, advisories, old)) == []
    assert list(vulnerable({"pytorch_model.bin": "torch-zip"}, advisories, {"torch": "2.10.0"})) == []


def test_a_loader_bug_in_keys_that_name_code_matters_more_where_a_key_does() -> None:
    files, old = {"config.json": "json"}, {"transformers": "5.2.0"}
    said = [
        {item.severity.value for item in vulnerable(files, shipped().advisories, old, names_code=named)}
        for named in (False, True)
    ]
    assert said == [{"info"}, {"medium"}]


def test_versions_come_from_metadata_and_not_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "evil_loader-9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: evil-loader\nVersion: 9\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert versions_of(["evil-loader", "no-such-package-anywhere"]) == {"evil-loader": "9"}
    monkeypatch.chdir(tmp_path)
    assert versions_of(["evil-loader"]) == {}


class Osv(http.server.BaseHTTPRequestHandler):
    """OSV's query, with the answers that a test gives it."""

    pages: ClassVar[dict[tuple[str, str | None], object]] = {}
    status = 200

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.path == "/v1/query"
        answer = self.pages.get((asked["package"]["name"], asked.get("page_token")), {})
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(self.status)
        if self.status == 302:
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def osv(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(Osv, "pages", {})
    monkeypatch.setattr(Osv, "status", 200)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Osv) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_an_update_adds_and_never_takes_away(osv: str, tmp_path: Path) -> None:
    cache = tmp_path / "cache" / "advisories.json"
    mended = entry(fixed="0.1", name="GHSA-OTHER", aliases=["CVE-2025-32434"])
    Osv.pages = {
        ("torch", None): {"vulns": [entry("9.0", name="NEW-1", details="long")], "next_page_token": "more"},
        ("torch", "more"): {"vulns": [mended, entry(name="GONE", withdrawn="2026-01-01T00:00:00Z")]},
        ("keras", None): {"vulns": [entry(package="keras", name="NEW-2")]},
    }
    assert update(osv, cache) == 4
    assert b"long" not in cache.read_bytes()
    names = {item.id for item in known(cache).advisories}
    assert {"NEW-1", "NEW-2", "CVE-2025-32434"} <= names
    assert not names & {"GONE", "GHSA-OTHER"}
    (floor,) = [item for item in known(cache).advisories if item.id == "CVE-2025-32434"]
    assert floor.affects("2.5")


@pytest.mark.parametrize(
    ("pages", "status"),
    [
        ({("torch", None): b"no json"}, 200),
        ({("torch", None): []}, 200),
        ({("torch", None): {"vulns": 1}}, 200),
        (
            {
                ("torch", None): {
                    "vulns": [
                        {"id": "A", "affected": [{"package": {"ecosystem": "PyPI", "name": "torch"}, "versions": 1}]}
                    ]
                }
            },
            200,
        ),
        ({("torch", None): {"next_page_token": "again"}, ("torch", "again"): {"next_page_token": "again"}}, 200),
        ({}, 500),
        ({}, 302),
    ],
)
def test_an_answer_that_is_none_leaves_what_was_there(osv: str, tmp_path: Path, pages: Any, status: int) -> None:
    cache = tmp_path / "advisories.json"
    cache.write_text('{"date": "2026-12-01", "vulns": []}')
    Osv.pages, Osv.status = pages, status
    with pytest.raises(AdvisoryError):
        update(osv, cache)
    assert read_snapshot(cache).date == "2026-12-01"


def test_an_address_that_is_none_of_the_web_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AdvisoryError, match="not an address"):
        update("file:///etc", tmp_path / "x")


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b'{"vulns": [1]}', b"[" * 100_000])
def test_a_cache_that_cannot_be_read_is_an_error(tmp_path: Path, raw: bytes) -> None:
    cache = tmp_path / "advisories.json"
    cache.write_bytes(raw)
    with pytest.raises(AdvisoryError, match=str(cache)) as caught:
        known(cache)
    assert caught.value.hint
