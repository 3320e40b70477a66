"""Which trusted root the options of a command name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from aiverify.errors import UsageError

if TYPE_CHECKING:
    from aiverify.signatures.trust import TrustSource


def trust_source(
    trusted_root: Path | None, *, staging: bool, tuf_url: str | None, tuf_root: Path | None, offline: bool
) -> TrustSource | None:
    """The root in a file, that of the staging instance, or that of a TUF repository; ``None`` for the public instance.

    Raises UsageError for more than one of them, and for half of a TUF repository.
    """
    if (tuf_url is None) != (tuf_root is None):
        raise UsageError(
            "--tuf-url and --tuf-root are needed together",
            hint="A TUF repository is trusted by its first root.json, which its operator hands out.",
        )
    if sum((trusted_root is not None, staging, tuf_url is not None)) > 1:
        raise UsageError("several trusted roots are named", hint="Give one of --trusted-root, --staging and --tuf-url.")
    if staging or tuf_url is not None:
        from aiverify.signatures.trust import Instance, TufRepository

        if tuf_url is not None and tuf_root is not None:
            return TufRepository(url=tuf_url, root=tuf_root, offline=offline)
        return Instance.STAGING
    return trusted_root
