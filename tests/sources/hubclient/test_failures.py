"""Every way in which the client fails becomes one line for a person."""

from __future__ import annotations

import errno
import socket
import ssl

import httpx2
import pytest
from huggingface_hub import errors as hub

from aiverify.sources.hubclient.failures import Place, explain, explained
from aiverify.sources.interface import SourceError

PLACE = Place("org/model", "main", "https://hub.example", has_token=False)


def caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


CASES = [
    (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
    (OSError(errno.EDQUOT, "Disk quota exceeded"), "quota"),
    (OSError(errno.EROFS, "Read-only file system"), "read-only"),
    (PermissionError(errno.EACCES, "Permission denied"), "no permission"),
    (OSError(errno.ENAMETOOLONG, "File name too long"), "too long"),
    (OSError(errno.EIO, "Input/output error"), "Input/output error"),
    (OSError("Consistency check failed: file should be of size 1\nbut"), "another size"),
    (httpx2.ProxyError("502"), "the proxy"),
    (httpx2.ReadTimeout("slow"), "does not answer in time"),
    (httpx2.ConnectTimeout("slow"), "does not answer in time"),
    (caused(httpx2.ConnectError("x"), ssl.SSLCertVerificationError("self-signed")), "certificate"),
    (caused(httpx2.ConnectError("x"), socket.gaierror(-2, "Name or service not known")), "is unknown"),
    (caused(httpx2.ConnectError("x"), ConnectionRefusedError(errno.ECONNREFUSED, "x")), "refuses the connection"),
    (httpx2.ConnectError("x"), "cannot be reached"),
    (httpx2.RemoteProtocolError("x"), "connection broke off"),
    (httpx2.ReadError("x"), "connection broke off"),
    (httpx2.TooManyRedirects("x"), "in circles"),
    (httpx2.UnsupportedProtocol("x"), "not a web address"),
    (httpx2.InvalidURL("x"), "not a web address"),
    (httpx2.LocalProtocolError("Illegal header value b'Bearer hf_secret'"), "the token holds characters"),
    (httpx2.DecodingError("x"), "connection broke off"),
    (hub.OfflineModeIsEnabled("x"), "offline mode"),
    (hub.HFValidationError("x"), "no repository name"),
    (hub.FileMetadataError("x"), "does not answer as a Hub does"),
    (caused(hub.LocalEntryNotFoundError("x"), hub.FileMetadataError("x")), "does not answer as a Hub does"),
    (caused(hub.LocalEntryNotFoundError("x"), httpx2.ConnectTimeout("x")), "does not answer in time"),
    (hub.XetDownloadError("x"), "xet storage"),
    (KeyError("sha"), "the Hub client failed on the answer (KeyError)"),
    (TypeError("x"), "TypeError"),
    (ValueError("x"), "ValueError"),
    (AssertionError("x"), "AssertionError"),
    (RuntimeError("x"), "RuntimeError"),
]


@pytest.mark.parametrize(("error", "message"), CASES, ids=[f"{type(error).__name__}-{text}" for error, text in CASES])
def test_every_failure_has_a_line(error: BaseException, message: str) -> None:
    explanation = explain(error, PLACE)
    assert message in str(explanation)
    assert "org/model" in str(explanation)
    assert "\n" not in str(explanation)
    assert "hf_secret" not in explanation.diagnostics()


def test_our_own_errors_pass_as_they_are() -> None:
    ours = SourceError("ours")
    assert explain(ours, PLACE) is ours
    assert explain(caused(RuntimeError("x"), ours), PLACE) is ours


def test_a_circle_of_causes_ends() -> None:
    one, two = RuntimeError("x"), RuntimeError("y")
    one.__cause__, two.__cause__ = two, one
    assert "RuntimeError" in str(explain(one, PLACE))


def test_an_interrupt_is_no_failure() -> None:
    with pytest.raises(KeyboardInterrupt), explained(PLACE):
        raise KeyboardInterrupt
    with pytest.raises(SourceError) as caught, explained(PLACE):
        raise RecursionError
    assert caught.value.__suppress_context__
