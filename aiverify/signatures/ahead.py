"""Import what the check of a signature will need, while digests are still being taken.

sigstore takes about half a second to import, and digests leave the interpreter to others most of the time. Nothing is
decided here: a file that cannot be read is left to those who will say so.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from pathlib import Path
from threading import Thread

from aiverify.signatures.bundle import BundleKind, parse_bundle
from aiverify.signatures.interface import SignatureError
from aiverify.signatures.presented import read

_NEEDED = {
    BundleKind.KEY: ("aiverify.signatures.key",),
    BundleKind.CERTIFICATE: ("aiverify.signatures.certificate",),
    BundleKind.KEYLESS: ("cryptography.x509", "sigstore.models", "sigstore.verify"),
}


def import_ahead(signatures: Iterable[Path]) -> Thread | None:
    """Begin, in a thread of its own, to import what signatures at these places need; ``None`` if that is nothing."""
    modules = ["aiverify.signatures.stage"]
    for place in signatures:
        try:
            modules += _NEEDED[parse_bundle(read(place)).kind]
        except SignatureError:
            continue
    if len(modules) == 1:
        return None
    thread = Thread(target=_import, args=(modules,), name="imports for signatures")
    thread.start()
    return thread


def _import(modules: Iterable[str]) -> None:
    for module in modules:
        importlib.import_module(module)
