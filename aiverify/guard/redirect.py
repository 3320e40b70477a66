"""The safetensors twin that a checkpoint is rebuilt from: known to the store, or made now.

Rules it keeps:

1. A twin is made of the sealed copy whose digest was judged, and brings its recipe with it. Nothing is written outside
   of the store.
2. That there is one, or none, is remembered as verdicts are. One that is no longer what was sealed is made anew.
3. A checkpoint that no recipe says all of, or whose twin cannot be made, has none: it is loaded as the policy lets it.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiverify.convert.checkpoint import plan_views
from aiverify.convert.plan import NotConvertibleError
from aiverify.convert.writer import Known, write_twin
from aiverify.digests.hashing import Identity
from aiverify.errors import AiverifyError
from aiverify.formats.examine import examine
from aiverify.formats.interface import Format, ScanOptions
from aiverify.guard.asked import Asked
from aiverify.guard.describing import FORMAT, describe
from aiverify.guard.interface import Admission, Twin
from aiverify.guard.judging import Way, question
from aiverify.policy import Policy
from aiverify.progress import Silent
from aiverify.store.interface import Member, Snapshot, StoreError, identity
from aiverify.store.store import Store

#: What ``torch.save`` writes.
CHECKPOINTS = frozenset((Format.TORCH_ZIP, Format.TORCH_LEGACY))
TWIN, RECIPE = "twin.safetensors", "recipe.json"

_NONE, _PASS = "none", "pass"
_TORCHSCRIPT = "/constants.pkl"  # by which torch tells a program from a checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """Leave to load a twin, and the digests of what is opened for it."""

    admission: Admission
    digests: Mapping[Path, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is remembered of a twin: see ``Twin``."""

    zipped: bool
    hollow: bool
    end: int | None


def rebuilt(store: Store, policy: Policy, asked: Asked, sealed: Callable[[], Path], *, passed: bool) -> Rebuilt | None:
    """The twin of a checkpoint that the policy lets be loaded from its twin; ``None`` if there is none that is equal.

    ``sealed`` gives the sealed copy of the checkpoint. Unless that ``passed`` itself, the store does not keep it.
    """
    asking = question(asked.sha256, asked.path.name, policy, Way.TWIN)
    known = store.recall(asking)
    if known is not None:
        answer, snapshot = known
        facts = _read(answer.report)
        if answer.outcome == _NONE:
            return None
        if facts is not None and snapshot is not None:
            return _admitted(asked, snapshot, facts)
    try:
        with _visiting(store, asked, stays=passed):
            snapshot, facts = _sealed(store, policy, asked, sealed())
    except NotConvertibleError:
        with suppress(StoreError):
            store.record(asking, _NONE, "{}", None)
        return None
    except (AiverifyError, OSError):
        return None
    text = {"recipe": FORMAT, "zipped": facts.zipped, "hollow": facts.hollow, "end": facts.end}
    store.record(asking, _PASS, json.dumps(text), snapshot)
    return _admitted(asked, snapshot, facts)


def _admitted(asked: Asked, snapshot: Snapshot, facts: Facts) -> Rebuilt:
    twin = Twin(recipe=snapshot.root / RECIPE, zipped=facts.zipped, hollow=facts.hollow, end=facts.end)
    admission = Admission(
        file=str(asked.path),
        sealed=snapshot.root / TWIN,
        sha256=asked.sha256,
        format=Format.SAFETENSORS.value,
        outcome=_PASS,
        inert=True,
        twin=twin,
    )
    return Rebuilt(
        admission=admission, digests={snapshot.root / path: file.sha256 for path, file in snapshot.files.items()}
    )


def _read(text: str) -> Facts | None:
    try:
        found: Any = json.loads(text)
        if found["recipe"] != FORMAT:
            return None
        end = found["end"]
        return Facts(
            zipped=found["zipped"] is True, hollow=found["hollow"] is True, end=None if end is None else int(end)
        )
    except (ValueError, KeyError, TypeError):
        return None


@contextmanager
def _visiting(store: Store, asked: Asked, *, stays: bool) -> Iterator[None]:
    """The checkpoint is in the store for the block; afterwards only if it ``stays``, or was there before."""
    mine = identity(asked.files)
    known = stays or store.snapshot(mine) is not None
    try:
        yield
    finally:
        if not known:
            store.index.forget(mine)


def _sealed(store: Store, policy: Policy, asked: Asked, source: Path) -> tuple[Snapshot, Facts]:
    """Make the twin of the sealed checkpoint ``source``, and seal it. Raises AiverifyError and OSError."""
    with store.workshop() as workshop:
        facts = make_twin(source, workshop.folder, trust=policy.trusted_globals, sha256=asked.sha256)
        places = [workshop.folder / name for name in (TWIN, RECIPE)]
        members = [Member(path=place.name, location=place, size=place.stat().st_size, sha256=None) for place in places]
        return store.seal(members, workshop=workshop), facts


def make_twin(source: Path, folder: Path, *, trust: Set[str] = frozenset(), sha256: str | None = None) -> Facts:
    """Write the twin of the checkpoint ``source``, and its recipe, into ``folder``. ``sha256`` is that of the source.

    ``trust`` are names as for any examination. Raises NotConvertibleError if nothing equal can be made of it, and other
    AiverifyErrors and OSError.
    """
    before = Identity.of(source.stat())
    examination = examine(source, source.name, ScanOptions(trust=trust))
    checkpoint, zipped = examination.checkpoint, examination.format is Format.TORCH_ZIP
    if checkpoint is None or examination.format not in CHECKPOINTS or _is_program(source):
        raise NotConvertibleError("", "it is no checkpoint of torch.save")
    description = describe(checkpoint)
    plan = plan_views(
        description.views(), checkpoint.storages, source_size=before.size, metadata={"format": "aiverify storages"}
    )
    write_twin(source, plan, folder / TWIN, Silent(), known=Known(sha256=sha256, identity=before))
    (folder / RECIPE).write_text(description.recipe(plan), "utf-8")
    return Facts(
        zipped=zipped,
        hollow=any(not storage.length for storage, _ in description.storages),
        end=description.end(checkpoint, zipped=zipped),
    )


def _is_program(source: Path) -> bool:
    """Whether torch would load the file as TorchScript, or as nothing that is known here."""
    if not zipfile.is_zipfile(source):
        return False
    try:
        with zipfile.ZipFile(source) as archive:
            return any(name.endswith(_TORCHSCRIPT) for name in archive.namelist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return True
