"""Whose word keyless verification rests on: the Sigstore instance's trusted root.

Either a file that the user names, or the production root that sigstore-python carries in its package. Never Sigstore's
own TUF cache: it needs a writable home, and once written it hides newer roots that come with the package. Nothing here
uses the network.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from aiverify.signatures.interface import SignatureError

if TYPE_CHECKING:
    from sigstore.models import TrustedRoot
    from sigstore.verify import Verifier

_PRODUCTION = ("https%3A%2F%2Ftuf-repo-cdn.sigstore.dev", "trusted_root.json")


def keyless_verifier(trusted_root: Path | None) -> Verifier:
    """A verifier under the root in a file, or under the embedded production root. Raises SignatureError."""
    from sigstore.verify import Verifier

    name = f"the trusted root {trusted_root}" if trusted_root else "the trusted root inside sigstore-python"
    try:
        return Verifier(trusted_root=_trusted_root(trusted_root))
    except Exception as error:
        raise SignatureError(
            f"{name} cannot be used: {reason(error)}", hint="Give a trusted_root.json with --trusted-root."
        ) from error


def check_readable(trusted_root: Path) -> None:
    """Tell about a mistyped option even where no signature needs the file. Raises SignatureError."""
    try:
        with trusted_root.open("rb"):
            pass
    except (OSError, ValueError) as error:
        raise SignatureError(f"the trusted root {trusted_root} cannot be read: {error}") from error


def _trusted_root(path: Path | None) -> TrustedRoot:
    from sigstore.models import TrustedRoot

    if path is not None:
        return TrustedRoot.from_file(str(path))
    with resources.as_file(resources.files("sigstore._store").joinpath(*_PRODUCTION)) as embedded:
        return TrustedRoot.from_file(str(embedded))


def reason(error: Exception) -> str:
    """What a library says went wrong, as one line of at most 300 characters and without pydantic's appendix."""
    text = " ".join(str(error).split()).partition(" [type=")[0] or type(error).__name__
    return text if len(text) <= 300 else f"{text[:300]}…"
