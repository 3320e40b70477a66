"""The conversion alone, without the command around it: ``convert_one.py FILE FOLDER known|hashed|bare``.

``known``: the SHA-256 of the source is known of this very file, as after the digest stage (the value is not looked at).
``hashed``: it is taken in the same pass. ``bare``: no digests at all.
"""

from __future__ import annotations

import sys
from pathlib import Path

from aiverify.convert.planning import Candidate, plan_all
from aiverify.convert.writer import Known, write_twin
from aiverify.digests.hashing import Identity
from aiverify.formats.examine import examine
from aiverify.formats.interface import ScanOptions
from aiverify.progress import Silent


def main(source: Path, folder: Path, mode: str) -> None:
    status = source.stat()
    checkpoint = examine(source, source.name, ScanOptions()).checkpoint
    candidate = Candidate(path=source.name, location=source, size=status.st_size, sha256="", checkpoint=checkpoint)
    (item,) = plan_all([candidate], {}, []).planned
    known = Known(sha256="0" * 64, identity=Identity.of(status)) if mode != "hashed" else None
    write_twin(source, item.plan, folder / "model.safetensors", Silent(), known=known, digests=mode != "bare")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
