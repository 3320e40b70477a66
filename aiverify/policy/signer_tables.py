"""The tables of ``[[signers]]`` in a policy file, read into expectations.

A table is one of these, and nothing besides:

- ``identity`` and ``issuer``, with ``source_repository``, ``source_ref`` and ``workflow`` as claims if wanted;
- ``key``, the file of a public key;
- ``ca``, the file of the authorities' certificates, with ``subject`` if wanted;
- ``all_of`` or ``any_of``, a list of tables;
- ``threshold``, a number, and ``of``, a list of tables that are none of the last two.

In place of a file its text may stand (PEM). Files are taken relative to the policy file; a policy that is no file of
this machine can name none. Everything else is an error that names the key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from aiverify.errors import AiverifyError, UsageError
from aiverify.files import read_pem
from aiverify.signers import AllOf, AnyOf, CertificateSigner, Expectation, KeylessSigner, KeySigner, Signer, Threshold

MAX_DEPTH = 8
_PEM = "-----BEGIN "

_CLAIMS = ("source_repository", "source_ref", "workflow")


class SignerTableError(AiverifyError):
    """A table is not valid. The message begins with the key."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}")
        self.key = key
        self.problem = problem


def read_expectation(table: Mapping[str, Any], key: str, folder: Path | None, depth: int = 0) -> Expectation:
    """The expectation in ``table``, which stands at ``key`` of a policy file in ``folder`` (``None``: in no folder).

    Raises SignerTableError.
    """
    if depth > MAX_DEPTH:
        raise SignerTableError(key, f"is nested more than {MAX_DEPTH} levels deep")
    form = _form(table, key)
    known, needed, read = _FORMS[form]
    for unknown in sorted(set(table) - set(known)):
        if unknown in _KNOWN:
            raise SignerTableError(key, f"has {unknown} as well as {form}")
        raise SignerTableError(f"{key}.{unknown}", f"is not a known key; known are {', '.join(sorted(_KNOWN))}")
    for missing in needed:
        if missing not in table:
            raise SignerTableError(key, f"needs {' and '.join(needed)} together")
    try:
        return read(_Table(table, key, folder, depth))
    except UsageError as error:
        raise SignerTableError(key, str(error)) from None


def _form(table: Mapping[str, Any], key: str) -> str:
    form = next((form for form in _FORMS if form in table), None)
    if form is not None:
        return form
    if "issuer" in table or "of" in table:
        return "identity" if "issuer" in table else "threshold"
    unknown = next((name for name in sorted(table) if name not in _KNOWN), None)
    if unknown is not None:
        raise SignerTableError(f"{key}.{unknown}", f"is not a known key; known are {', '.join(sorted(_KNOWN))}")
    raise SignerTableError(key, "needs identity and issuer, key, ca, all_of, any_of, or threshold and of")


class _Table:
    """One table, and where it stands."""

    def __init__(self, values: Mapping[str, Any], key: str, folder: Path | None, depth: int) -> None:
        self._values = values
        self._key = key
        self._folder = folder
        self._depth = depth

    def text(self, name: str) -> str:
        value = self._values[name]
        if not isinstance(value, str) or not value:
            raise SignerTableError(f"{self._key}.{name}", "must be text")
        return value

    def optional_text(self, name: str) -> str | None:
        return self.text(name) if name in self._values else None

    def file(self, name: str, what: str) -> tuple[bytes, str]:
        path = self.text(name)
        if path.lstrip().startswith(_PEM):
            return self._inline(name, path, what)
        if self._folder is None:
            problem = f"the policy is not a file, and cannot name one: write the {what} here, as text (PEM)"
            raise SignerTableError(f"{self._key}.{name}", problem)
        try:
            return read_pem(self._folder / path), path
        except (OSError, ValueError):
            raise SignerTableError(f"{self._key}.{name}", f"cannot read the {what} {path}") from None

    def _inline(self, name: str, text: str, what: str) -> tuple[bytes, str]:
        try:
            return text.encode("ascii"), f"in {self._key}"
        except ValueError:
            raise SignerTableError(f"{self._key}.{name}", f"the {what} is not PEM") from None

    def number(self, name: str) -> int:
        value = self._values[name]
        if not isinstance(value, int) or isinstance(value, bool):
            raise SignerTableError(f"{self._key}.{name}", "must be a whole number")
        return value

    def subject(self) -> str | None:
        subject = self.optional_text("subject")
        if subject is not None:
            from cryptography import x509

            try:
                x509.Name.from_rfc4514_string(subject)
            except ValueError:
                problem = "is not a name as in CN=Release,O=Acme (RFC 4514)"
                raise SignerTableError(f"{self._key}.subject", problem) from None
        return subject

    def members(self, name: str) -> tuple[Expectation, ...]:
        value = self._values[name]
        if not isinstance(value, list) or not value:
            raise SignerTableError(f"{self._key}.{name}", "must be a list of tables")
        return tuple(self._member(f"{self._key}.{name}[{number}]", item) for number, item in enumerate(value))

    def signers(self, name: str) -> tuple[Signer, ...]:
        members = self.members(name)
        for number, member in enumerate(members):
            if isinstance(member, AllOf | AnyOf | Threshold):
                problem = "must be a signer: a threshold counts signers, not combinations of them"
                raise SignerTableError(f"{self._key}.{name}[{number}]", problem)
        return tuple(member for member in members if not isinstance(member, AllOf | AnyOf | Threshold))

    def _member(self, key: str, item: object) -> Expectation:
        if not isinstance(item, dict):
            raise SignerTableError(key, "must be a table")
        return read_expectation(item, key, self._folder, self._depth + 1)


def _keyless(table: _Table) -> Expectation:
    claims = {name: table.optional_text(name) for name in _CLAIMS}
    return KeylessSigner(table.text("identity"), table.text("issuer"), **claims)


def _key(table: _Table) -> Expectation:
    pem, name = table.file("key", "public key")
    return KeySigner(pem, name)


def _authority(table: _Table) -> Expectation:
    pem, name = table.file("ca", "certificates")
    return CertificateSigner(pem, table.subject(), name)


_Reader = Callable[[_Table], Expectation]
_FORMS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...], _Reader]] = {
    "key": (("key",), ("key",), _key),
    "ca": (("ca", "subject"), ("ca",), _authority),
    "all_of": (("all_of",), ("all_of",), lambda table: AllOf(table.members("all_of"))),
    "any_of": (("any_of",), ("any_of",), lambda table: AnyOf(table.members("any_of"))),
    "threshold": (
        ("threshold", "of"),
        ("threshold", "of"),
        lambda table: Threshold(table.number("threshold"), table.signers("of")),
    ),
    "identity": (("identity", "issuer", *_CLAIMS), ("identity", "issuer"), _keyless),
}
_KNOWN = frozenset(name for known, _, _ in _FORMS.values() for name in known) | {"repositories"}
