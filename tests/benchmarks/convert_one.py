"""The conversion alone, without the command around it: ``convert_one.py FILE FOLDER known|bare``.

``known``: somebody else hashes the source, as the digest stage does. ``bare``: no digests at all.
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
    candidate = Candidate(path=source.name, location=source, size=status.st_size, checkpoint=checkpoint)
    (item,) = plan_all([candidate], {}, []).planned
    known = Known(identity=Identity.of(status))
    write_twin(source, item.plan, folder / "model.safetensors", Silent(), known=known, digests=mode != "bare")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
