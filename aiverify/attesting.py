"""Sign what aiverify found out: the verdict of a saved report, or what a receipt says about a conversion.

Whoever signs vouches for what the file says; nothing of it is looked at again. A receipt is an in-toto statement
already and is signed byte for byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiverify.attestations.interface import AttestationError
from aiverify.attestations.summary import summary_payload
from aiverify.convert.receipt import INDEX_TYPE, PREDICATE_TYPE
from aiverify.errors import AiverifyError
from aiverify.files import is_there, read_at_most, write_whole
from aiverify.report import Report
from aiverify.reporters.reading import MAX_BYTES, load
from aiverify.signatures.bundle import MAX_BUNDLE_BYTES
from aiverify.signatures.interface import MalformedError
from aiverify.signatures.making import Signing
from aiverify.signatures.manifest import STATEMENT_TYPE
from aiverify.signatures.presented import is_bundle, read
from aiverify.signatures.resources import hex_digest
from aiverify.signatures.strict_json import parse_object, required

SUFFIX = ".sigstore.json"

_RECEIPTS = (PREDICATE_TYPE, INDEX_TYPE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attested:
    """What was attested, in words, by whom, and where the bundle lies."""

    bundle: Path
    signer: str
    about: str


def attest(source: Path | Report, signing: Signing, *, output: Path | None = None) -> Attested:
    """Sign the verdict of a report, or a receipt, and write the bundle to ``output``.

    ``source`` is the file of a report or a receipt, or a report itself, which needs an ``output``; that of a file is
    otherwise its own name with ``.sigstore.json`` at the end. Raises AttestationError and SignatureError; then nothing
    was written.
    """
    if isinstance(source, Report):
        if output is None:
            raise AttestationError("an attestation needs a file to be written to")
        place, (payload, about) = output, (summary_payload(source), _about(source))
    else:
        place = output or source.with_name(f"{source.name}{SUFFIX}")
        payload, about = _statement(source)
    if is_there(place) and place.is_file() and not is_bundle(read(place)):
        raise AttestationError(f"{place} is there already, and is no attestation", hint="Name another file.")
    if not is_there(place.parent) or not place.parent.is_dir():
        raise AttestationError(f"{place}: there is no such folder", hint="Name another file.")
    signing.prepare()
    made = signing.sign(payload)
    if len(made.bundle) > MAX_BUNDLE_BYTES:
        raise AttestationError(f"the attestation is larger than {MAX_BUNDLE_BYTES} bytes, and nobody would read it")
    write_whole(place, made.bundle)
    return Attested(bundle=place, signer=made.signer, about=about)


def _statement(path: Path) -> tuple[bytes, str]:
    try:
        content = read_at_most(path, MAX_BYTES)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise AttestationError(f"{path}: cannot be read: {reason or error}") from error
    if len(content) > MAX_BYTES:
        raise AttestationError(f"{path}: larger than {MAX_BYTES} bytes")
    try:
        table = parse_object(content, None)  # a file of the user's own, and no stranger's
    except MalformedError as error:
        raise AttestationError(f"{path}: neither a report nor a receipt: {error}") from error
    if "_type" not in table:
        try:
            report = load(content)
        except AiverifyError as error:
            raise AttestationError(f"{path}: neither a receipt nor a report: {error}") from error
        return summary_payload(report), _about(report)
    try:
        return content, _receipt(table)
    except MalformedError as error:
        raise AttestationError(f"{path}: not a receipt: {error}") from error


def _about(report: Report) -> str:
    return f"the verdict {report.verdict.outcome} on {len(report.artifact.files)} files of {report.target}"


def _receipt(table: dict[str, Any]) -> str:
    """What a receipt is about. One that pins no bytes proves nothing, and is a MalformedError."""
    if table["_type"] != STATEMENT_TYPE:
        raise MalformedError("it is no in-toto Statement v1")
    predicate_type = required(table, "predicateType", str)
    if predicate_type not in _RECEIPTS:
        raise MalformedError(f"it is about {predicate_type[:80]!r}")
    subjects = required(table, "subject", list)
    if len(subjects) != 1 or not isinstance(subjects[0], dict):
        raise MalformedError("it has not exactly one subject")
    name = required(subjects[0], "name", str)
    digest = required(subjects[0], "digest", dict)
    if "sha256" not in digest:
        raise MalformedError(f"it pins no digest of {name}: convert without --no-digests")
    hex_digest("sha256", required(digest, "sha256", str))
    required(table, "predicate", dict)
    return f"the conversion that gave {name}"
