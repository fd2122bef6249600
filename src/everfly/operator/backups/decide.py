"""Turn what is seen of one backup into the one thing to do next. Pure.

Rules, which hold also when the operator dies after any step:

* what is copied is the data of the primary that the data store's status names, of its history;
* what a snapshot holds is written down before the ferry lets go of the primary, and it is saved
  only by the incarnation that holds it: a ferry that restarted is empty;
* a snapshot is good only when it was written without an error and, unless the resource says
  otherwise, was read back with as many keys;
* each attempt has a ferry and a name of its own: files of one that failed are never taken for
  those of another.
"""

from dataclasses import dataclass, replace
from typing import Final

from everfly.core.model import Address, Role
from everfly.operator.backups.names import basename_of, ferry_name
from everfly.operator.backups.place import SUMMARY
from everfly.operator.backups.progress import Cut, Phase, Progress
from everfly.operator.backups.sight import FerrySight
from everfly.operator.backups.spec import BackupSpec

START_S: Final = 300.0
"""For a ferry to start: an image to pull, a volume to attach."""
BACKOFF_S: Final = 10.0
"""Before the second attempt; doubled for each further one."""
BACKOFF_MAX_S: Final = 360.0
"""As for Jobs of Kubernetes."""


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """What counts of the data store whose data are to be saved."""

    primary: str = ""
    """Empty: it has none now."""
    address: Address | None = None
    history: str = ""
    """Of the data that are the rightful ones."""


@dataclass(frozen=True, slots=True)
class FerryFacts:
    """What a ferry says of itself."""

    role: Role
    primary: Address | None = None
    history: str = ""
    offset: int | None = None
    """None: in the middle of a copy, or no replica."""
    is_link_up: bool = False
    is_busy: bool = False
    """It copies, or reads a snapshot."""
    is_saving: bool = False
    saved_file: str = ""
    save_error: str = ""
    keys: int = 0
    volatile_keys: int = 0
    memory_bytes: int = 0
    engine: str = ""


@dataclass(frozen=True, slots=True)
class Loading:
    """How reading the snapshot back fares, in this operator."""

    is_under_way: bool = False
    error: str = ""
    keys: int | None = None
    """How many keys were read; None: it was not read to its end."""


@dataclass(frozen=True, slots=True)
class Seen:
    """All that counts of a backup at one moment."""

    spec: BackupSpec
    progress: Progress
    name: str
    uid: str
    now: float
    """Seconds since 1970."""
    store: StoreFacts | None = None
    """None: there is no such data store."""
    ferry: FerrySight | None = None
    facts: FerryFacts | None = None
    """None: it gave no answer."""
    loading: Loading = Loading()
    refusal: str = ""
    """What the ferry said when it was told to write, and would not."""


@dataclass(frozen=True, slots=True)
class Write:
    """Write down how far the backup is."""

    progress: Progress
    reason: str = ""


@dataclass(frozen=True, slots=True)
class StartFerry:
    """Have the ferry of this attempt."""


@dataclass(frozen=True, slots=True)
class Follow:
    """Have the ferry copy from the primary."""

    address: Address


@dataclass(frozen=True, slots=True)
class Detach:
    """Have the ferry keep what it has, if that is still a whole copy of the history."""

    history: str


@dataclass(frozen=True, slots=True)
class Save:
    """Have the ferry write its snapshot."""


@dataclass(frozen=True, slots=True)
class ReadBack:
    """Have the ferry read what it wrote."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing can be done now, and why."""

    reason: str
    seconds: float = 1.0


@dataclass(frozen=True, slots=True)
class End:
    """It is over: leave nothing behind but the files."""


Step = Write | StartFerry | Follow | Detach | Save | ReadBack | Wait | End


def next_step(seen: Seen) -> Step:
    """Return what to do about a backup now."""
    progress = seen.progress
    if progress.phase.is_over:
        return End()
    if not progress.ferry:
        return _begin(seen)
    if seen.now - progress.attempt_at > seen.spec.attempt_s:
        waits_for = f": {seen.ferry.trouble}" if seen.ferry and seen.ferry.trouble else ""
        return _fail(seen, f"it took longer than {seen.spec.attempt_s} s{waits_for}")
    ferry = seen.ferry
    if ferry is None:
        return StartFerry() if progress.cut is None else _fail(seen, "its ferry is gone")
    if lost := _why_lost(progress, ferry):
        return _fail(seen, lost)
    if ferry.address is None or seen.facts is None:
        return _await_start(seen, ferry)
    if progress.phase is Phase.COPYING:
        return _copy(seen, ferry, seen.facts)
    if progress.phase is Phase.SAVING:
        return _save(seen, seen.facts)
    return _verify(seen, seen.facts)


def _why_lost(progress: Progress, ferry: FerrySight) -> str:
    """Return why a ferry can be of no use any more, or an empty text."""
    if ferry.exit_code is not None:
        return ferry.trouble or f"its ferry ended with status {ferry.exit_code}"
    if progress.cut is not None and ferry.incarnation != progress.cut.incarnation:
        return "its ferry restarted and is empty"
    return "its ferry is being stopped" if ferry.is_terminating else ""


def _begin(seen: Seen) -> Step:
    """Begin an attempt, once there is something to copy and the time for it has come."""
    progress = seen.progress
    if progress.attempt:
        due = progress.attempt_at + backoff_s(progress.attempt)
        if seen.now < due:
            return Wait(f"attempt {progress.attempt} failed", due - seen.now)
    if seen.store is None:
        reason = f"there is no Dragonfly {seen.spec.store} in the namespace"
        return _without_source(seen, reason)
    if seen.store.address is None:
        return _without_source(seen, f"{seen.spec.store} has no primary now")
    attempt = progress.attempt + 1
    begun = Progress(
        Phase.COPYING,
        attempt,
        progress.started_at or seen.now,
        attempt_at=seen.now,
        ferry=ferry_name(seen.name, attempt),
        last_error=progress.last_error,
    )
    return Write(begun, "Started")


def _without_source(seen: Seen, reason: str) -> Step:
    since = seen.progress.started_at or seen.now
    if not seen.progress.started_at:
        return Write(replace(seen.progress, started_at=seen.now, last_error=reason), "Waiting")
    if seen.now - since > seen.spec.attempt_s:
        return Write(replace(seen.progress, phase=Phase.FAILED, last_error=reason), "Failed")
    return Wait(reason)


def backoff_s(attempt: int) -> float:
    """Return the seconds from the beginning of an attempt that failed to the next one."""
    return min(BACKOFF_S * 2.0 ** min(attempt - 1, 16), BACKOFF_MAX_S)


def _fail(seen: Seen, reason: str) -> Step:
    """End an attempt; the next look begins another one, or the backup has failed."""
    progress = seen.progress
    is_last = progress.attempt > seen.spec.backoff_limit
    failed = Progress(
        Phase.FAILED if is_last else Phase.PENDING,
        progress.attempt,
        progress.started_at,
        attempt_at=seen.now,
        ferry=progress.ferry if is_last else "",
        last_error=reason,
    )
    return Write(failed, "Failed" if is_last else "AttemptFailed")


def _await_start(seen: Seen, ferry: FerrySight) -> Step:
    waited = seen.now - seen.progress.attempt_at
    if seen.progress.cut is not None or waited < START_S:
        return Wait(ferry.trouble or f"{ferry.name} gives no answer yet")
    return _fail(seen, ferry.trouble or f"{ferry.name} did not start within {START_S:.0f} s")


def _copy(seen: Seen, ferry: FerrySight, facts: FerryFacts) -> Step:
    store = seen.store
    if store is None or store.address is None:
        return Wait(f"{seen.spec.store} has no primary now")
    if facts.role is Role.PRIMARY or facts.primary != store.address:
        return Follow(store.address)
    if facts.is_busy or (facts.is_link_up and facts.offset is None):
        return Wait("it is being copied")
    if not is_whole(facts):
        return Follow(store.address)
    if facts.offset is None or facts.history != store.history:
        return Wait(f"{store.primary} does not hold the data store's data")
    cut = Cut(ferry.incarnation, store.primary, facts.history, facts.offset)
    basename = basename_of(seen.name, seen.uid, seen.progress.attempt)
    kept = replace(seen.progress, phase=Phase.SAVING, cut=cut, basename=basename)
    return Write(kept, "Copied")


def is_whole(facts: FerryFacts) -> bool:
    """Tell whether a ferry that follows holds all that its primary holds."""
    return facts.is_link_up and not facts.is_busy and facts.offset is not None


def _save(seen: Seen, facts: FerryFacts) -> Step:
    cut = seen.progress.cut
    if cut is None:
        return _fail(seen, "what was copied is not written down")
    if facts.role is Role.REPLICA:
        if facts.history != cut.history or not is_whole(facts):
            # It lost the primary since, and copies anew: what it holds now is half of it.
            again = replace(seen.progress, phase=Phase.COPYING, cut=None, basename="")
            return Write(again, "CopyingAnew")
        return Detach(cut.history)
    if facts.is_saving:
        return Wait("it is being written")
    if facts.saved_file.endswith(f"/{seen.progress.basename}-{SUMMARY}.dfs"):
        return _saved(seen, cut, facts)
    if seen.refusal:
        return _fail(seen, f"writing: {seen.refusal}")
    if facts.save_error:
        return _fail(seen, f"writing: {facts.save_error}")
    return Save()


def _saved(seen: Seen, cut: Cut, facts: FerryFacts) -> Step:
    whole = replace(
        cut,
        keys=facts.keys,
        volatile_keys=facts.volatile_keys,
        memory_bytes=facts.memory_bytes,
        engine=facts.engine,
    )
    if seen.spec.verifies:
        return Write(replace(seen.progress, phase=Phase.VERIFYING, cut=whole), "Saved")
    return _complete(seen, whole)


def _complete(seen: Seen, cut: Cut) -> Step:
    done = replace(
        seen.progress, phase=Phase.COMPLETED, cut=cut, completed_at=seen.now, last_error=""
    )
    return Write(done, "Completed")


def _verify(seen: Seen, facts: FerryFacts) -> Step:
    cut, loading = seen.progress.cut, seen.loading
    if cut is None:
        return _fail(seen, "what was copied is not written down")
    if loading.is_under_way or facts.is_busy:
        return Wait("it is being read back")
    if loading.error:
        return _fail(seen, f"reading it back: {loading.error}")
    if loading.keys is None:
        return ReadBack()
    # Keys whose time is over are dropped while a snapshot is read.
    if not cut.keys - cut.volatile_keys <= loading.keys <= cut.keys:
        return _fail(seen, f"{loading.keys} keys could be read back of {cut.keys}")
    return _complete(seen, cut)
