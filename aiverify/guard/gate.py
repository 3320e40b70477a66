"""The decision about one file: may these bytes be loaded, and which copy of them?

    descriptor → state → digest → verdict (remembered, or given now) → sealed copy, checked → admission

Rules it keeps:

1. A file is opened once; its state and digest are those of the descriptor. A digest is believed as long as device,
   inode, size, mtime and ctime are what they were; with ``rehash="always"`` it is taken each time.
2. What is admitted is a sealed copy with the same digest, whose state is looked at again before each load.
3. ``block`` is refused in both modes, as is all without a policy; ``review`` and ``error`` in ``enforce``. What could
   not be done is an error.
4. The policy is looked for as the command line does, but never where the file itself lies.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from aiverify.guard.asked import Asked, State, digest, state_of, states
from aiverify.guard.deciding import ENFORCE, Settings
from aiverify.guard.interface import Admission, LoadRefused, Twin, of_copy, refusal
from aiverify.guard.loading import examining
from aiverify.guard.refusals import refused

if TYPE_CHECKING:
    from aiverify.guard.judging import Judged
    from aiverify.policy import Policy
    from aiverify.store.store import Store

_BLOCK = "block"
_KEPT = 4096

Suits = Callable[[Twin], bool]

_gates: weakref.WeakSet[StoreGate] = weakref.WeakSet()  # a gate of a scope ends with the scope


class StoreGate:
    """Decides with the help of the store. One for all threads; a forked child uses its copy."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._store: Store | None = None
        self._policies: dict[str, Policy] = {}
        self._admitted: dict[tuple[State, str, bool, bool, bool], tuple[Admission, tuple[State, ...]]] = {}
        self._said: set[str] = set()
        self._copies: dict[str, str] = {}
        self._lock = threading.RLock()
        _gates.add(self)

    def forked(self) -> None:
        """This is a child: the thread that may have held the lock is not here."""
        self._lock = threading.RLock()

    def admit(
        self,
        path: str | Path,
        *,
        sealing: bool = True,
        running: bool = False,
        suits: Suits | None = None,
        copy_of: str | None = None,
    ) -> Admission:
        """Leave to load the file at ``path``. Raises LoadRefused, and OSError where the file cannot be opened.

        Without ``sealing`` no copy is made: what is opened then is the file itself, under its own name. Of a file that
        no unpickler makes anything of, that may be done whatever the verdict on it is. What is ``running`` is source
        code, which the policy must let run. With ``suits``, a checkpoint is loaded from its safetensors twin where
        there is one that gives the same, and that ``suits``. ``copy_of`` is what messages name instead of a file that
        is a copy and will be gone.
        """
        path = Path(path)
        if copy_of is not None:
            self._copies[str(path)] = copy_of
        with examining():
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                return self._admit(handle, path, sealing, running, suits)
            except LoadRefused as no:
                raise refused(self._worded(no)) from None
            except Exception as error:  # noqa: BLE001 - whatever breaks, nothing is loaded because of it
                return self._failed(path, error)
            finally:
                os.close(handle)
                self._copies.pop(str(path), None)

    def refuse(self, file: str, reason: str) -> LoadRefused:
        """The refusal, recorded, of something that no policy allows."""
        return refused(refusal(file, _BLOCK, (reason,), policy="the guard, under any policy"))

    def _admit(self, handle: int, path: Path, sealing: bool, running: bool, suits: Suits | None) -> Admission:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise refusal(path, "error", ("it is no regular file",))
        key = (state_of(found), path.name, sealing, running, suits is not None)
        known = self._admitted.get(key)
        if known is not None and not self.settings.rehash_always and states(known[0]) == known[1]:
            admission = known[0]
        else:
            with self._lock:
                admission, racy = self._examined(handle, path, sealing, running, twin=suits is not None)
            found_now = states(admission)
            if found_now is not None and not racy:
                if len(self._admitted) >= _KEPT:
                    self._admitted.clear()
                self._admitted[key] = admission, found_now
        if suits is not None and admission.twin is not None and not suits(admission.twin):
            return self._admit(handle, path, sealing, running, None)
        return admission

    def _examined(self, handle: int, path: Path, sealing: bool, running: bool, *, twin: bool) -> tuple[Admission, bool]:
        """The admission, and whether the file changed too recently for that to be remembered by its state."""
        from aiverify.guard.judging import unread

        store, policy = self._opened(), self._policy(path)
        sha256, size, racy = digest(handle, path, store.index, fresh=self.settings.rehash_always)
        asked = Asked(path=path, sha256=sha256, size=size, sealing=sealing, state=state_of(os.fstat(handle)))
        judged = self._judged(store, policy, asked)
        if running and not judged.runs and judged.outcome.value == "pass":
            judged = unread(judged, sha256)
        rebuilt = self._rebuilt(store, policy, asked, judged) if twin else None
        if rebuilt is not None:
            return rebuilt, racy
        if sealing or not judged.inert:
            self._decide(path, judged, policy)
        admission = Admission(
            file=str(path),
            sealed=self._sealed(store, asked) if sealing else path,
            sha256=sha256,
            format=judged.format,
            outcome=judged.outcome.value,
            globals=None if judged.outcome.value == "error" else judged.names,
            inert=judged.inert,
        )
        return admission, racy

    # verdicts

    def _judged(self, store: Store, policy: Policy, asked: Asked) -> Judged:
        """The verdict on one content: remembered, or given now.

        What was judged in place, where others may write while it is looked at, is remembered for loads in place only.
        """
        from aiverify.guard.judging import CHANGED, Way, question, read_judged
        from aiverify.store.interface import StoreError

        within = self._passed(store, policy, asked)
        own = Way.SNAPSHOT if within else Way.SEALED if asked.sealing else Way.IN_PLACE
        for way in (own,) if own is not Way.IN_PLACE else (Way.SEALED, own):
            answer = store.recall(question(asked.sha256, asked.path.name, policy, way))
            known = read_judged(answer[0].report) if answer is not None else None
            if known is not None:
                return known
        judged = self._judge(store, policy, asked, within=within)
        if CHANGED in judged.rules:  # that says nothing of the content
            return judged
        asking = question(asked.sha256, asked.path.name, policy, own)
        with contextlib.suppress(StoreError):  # then it is asked again
            store.record(asking, judged.outcome.value, judged.text(), None)
        return judged

    def _judge(self, store: Store, policy: Policy, asked: Asked, *, within: bool) -> Judged:
        from aiverify.guard.judging import judge_file, passed_with_snapshot
        from aiverify.store.interface import identity

        if within:
            return passed_with_snapshot(asked.path, asked.path.name, policy)
        if not asked.sealing:
            return judge_file(asked.path, asked.path.name, policy, asked.state)
        known = store.snapshot(identity(asked.files)) is not None
        snapshot = store.seal([asked.member])
        judged = judge_file(snapshot.root / asked.path.name, asked.path.name, policy)
        if judged.outcome.value != "pass" and not known:
            store.index.forget(snapshot.id)  # the store holds what passed; `store prune` takes the rest away
        return judged

    def _decide(self, path: Path, judged: Judged, policy: Policy) -> None:
        """Raise LoadRefused if the file may not be loaded; say what is only warned of."""
        from aiverify.guard.judging import deciding_line

        if judged.outcome.value == "pass":
            return
        decided = deciding_line(judged.outcome, policy)
        outcome, twin = judged.outcome.value, judged.twin
        no = refusal(path, outcome, judged.reasons, rules=judged.rules, policy=decided, convertible=twin)
        if outcome == _BLOCK or self.settings.mode == ENFORCE:
            raise no
        self._say(self._worded(no))

    def _failed(self, path: Path, error: Exception) -> Admission:
        """What could not be judged at all: refused, or in ``warn`` loaded as it lies there."""
        no = self._worded(refusal(path, "error", (f"it could not be verified: {error}",)))
        if self.settings.mode == ENFORCE:
            raise refused(no) from error
        self._say(no)
        return Admission(file=str(path), sealed=path, sha256="", format="unknown", outcome="error", globals=None)

    def _worded(self, no: LoadRefused) -> LoadRefused:
        """The refusal in words about what was given to the loader, if that is not the file that was looked at."""
        source = self._copies.get(no.target)
        return no if source is None else of_copy(no, source)

    def _say(self, no: LoadRefused) -> None:
        text = f"aiverify: warning: {no.diagnostics()}".replace("not loaded", "loaded all the same")
        if text not in self._said:
            self._said.add(text)
            with contextlib.suppress(Exception):
                print(text, file=sys.stderr)

    # the sealed copy

    def _snapshot_of(self, store: Store, asked: Asked) -> str | None:
        """The snapshot that the file is part of, with just these bytes."""
        try:
            identity, _, path = asked.path.absolute().relative_to(store.root / "snapshots").as_posix().partition("/")
        except ValueError:
            return None
        snapshot = store.snapshot(identity)
        file = snapshot.files.get(path) if snapshot is not None else None
        return identity if file is not None and file.sha256 == asked.sha256 else None

    def _passed(self, store: Store, policy: Policy, asked: Asked) -> bool:
        """Whether the file is part of a snapshot that passed, and would be asked about in the same way today."""
        from aiverify.guard.judging import Way, question

        identity = self._snapshot_of(store, asked)
        if identity is None:
            return False
        return store.index.passed(identity, question(asked.sha256, asked.path.name, policy, Way.SNAPSHOT))

    def _sealed(self, store: Store, asked: Asked) -> Path:
        """The store's copy of a file that may be loaded, with the very bytes that were judged."""
        from aiverify.store.interface import StoreError, identity

        if self._snapshot_of(store, asked) is not None:
            return asked.path
        fresh = not (store.root / "blobs" / asked.sha256[:2] / asked.sha256).exists()
        try:
            snapshot = store.seal([asked.member])
        except StoreError:  # it can only be read, perhaps: what is in it is of use all the same
            known = store.snapshot(identity(asked.files))
            if known is None:
                raise
            snapshot, fresh = known, False
        place = snapshot.root / asked.path.name
        if not fresh:
            self._check(asked.path, place, asked.sha256)
        return place

    def _rebuilt(self, store: Store, policy: Policy, asked: Asked, judged: Judged) -> Admission | None:
        """Leave to load the twin of a checkpoint, if that passes and gives the same."""
        from aiverify.guard.redirect import CHECKPOINTS, rebuilt

        passed = judged.outcome.value == "pass"
        if judged.format not in CHECKPOINTS or not (passed or judged.twin):
            return None
        found = rebuilt(store, policy, asked, lambda: self._sealed(store, asked), passed=passed)
        if found is None:
            return None
        if self.settings.rehash_always:
            for place, sha256 in found.digests.items():
                self._check(asked.path, place, sha256)
        return found.admission

    def _check(self, file: Path, place: Path, sha256: str) -> None:
        """Raise LoadRefused unless a sealed file that ``file`` is loaded from has its digest."""
        if self._digest_at(place) != sha256:
            reason = f"the sealed copy {place} was changed (AIV103); `aiverify store verify` tells more"
            raise refusal(file, _BLOCK, (reason,), rules=("AIV103",))

    def _digest_at(self, place: Path) -> str:
        handle = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            return digest(handle, place, self._opened().index, fresh=self.settings.rehash_always)[0]
        finally:
            os.close(handle)

    # what is opened once

    def _opened(self) -> Store:
        from aiverify.store.store import Store

        with self._lock:
            if self._store is None:
                self._store = Store(Path(self.settings.store) if self.settings.store else None)
            return self._store

    def _policy(self, path: Path) -> Policy:
        from aiverify.guard.policies import policy_for

        folder = f"{path.absolute().parent}\0{path.resolve().parent}"
        if folder not in self._policies:
            self._policies[folder] = policy_for(path, self.settings)
        return self._policies[folder]


def _forked() -> None:
    for gate in _gates:
        gate.forked()


os.register_at_fork(after_in_child=_forked)
