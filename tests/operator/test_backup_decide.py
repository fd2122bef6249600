"""What is done about a backup next, whoever does it, and what never happens on the way."""

import random
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everfly.core.model import Address, Role
from everfly.operator.backups import decide
from everfly.operator.backups.decide import (
    Detach,
    End,
    FerryFacts,
    Follow,
    Loading,
    ReadBack,
    Save,
    Seen,
    StartFerry,
    Step,
    StoreFacts,
    Wait,
    Write,
    next_step,
)
from everfly.operator.backups.place import Volume
from everfly.operator.backups.progress import Phase, Progress, progress_fields, progress_of
from everfly.operator.backups.sight import FerrySight
from everfly.operator.backups.spec import BackupSpec

PRIMARIES = {name: Address(f"10.0.0.{i}", 9999) for i, name in enumerate(("p-0", "p-1"))}
UID = "0123456789abcdef"
SPEC = BackupSpec("cache", Volume("backups"), backoff_limit=3, attempt_s=600)


@dataclass
class FakeFerry:
    """A ferry as the world knows it: what it holds, and what it is doing."""

    name: str
    restarts: int = 0
    follows: str = ""
    history: str = "own"
    holds: frozenset[int] = frozenset()
    is_copying: bool = False
    is_linked: bool = False
    saving: int = 0
    saved: str = ""
    save_error: str = ""
    exit_code: int | None = None


@dataclass
class World:
    """A data store that takes writes, a ferry, a volume, and a status that outlives operators."""

    spec: BackupSpec = SPEC
    now: float = 1_000_000.0
    status: dict[str, object] = field(default_factory=dict)
    primary: str = "p-0"
    history: str = "h1"
    writes: set[int] = field(default_factory=lambda: set(range(10)))
    ferry: FakeFerry | None = None
    files: dict[str, frozenset[int]] = field(default_factory=dict)
    damaged: set[str] = field(default_factory=set)
    loading: Loading = Loading()
    save_fails: int = 0
    cut: frozenset[int] = frozenset()
    steps: list[str] = field(default_factory=list)

    @property
    def progress(self) -> Progress:
        # As the API server keeps it: without what is None.
        return progress_of({key: value for key, value in self.status.items() if value is not None})  # type: ignore[misc]

    def seen(self) -> Seen:
        ferry, facts = self.ferry, None
        sight = None
        if ferry is not None and ferry.name == self.progress.ferry:
            mark = f"{ferry.name}/{ferry.restarts}"
            is_running = ferry.exit_code is None
            sight = FerrySight(
                ferry.name, ferry.name, mark, "10.0.9.9", is_running, False, ferry.exit_code, ""
            )
            facts = self.facts_of(ferry) if is_running else None
        return Seen(
            spec=self.spec,
            progress=self.progress,
            name="nightly",
            uid=UID,
            now=self.now,
            store=StoreFacts(
                self.primary, PRIMARIES[self.primary] if self.primary else None, self.history
            ),
            ferry=sight,
            facts=facts,
            loading=self.loading,
        )

    @staticmethod
    def facts_of(ferry: FakeFerry) -> FerryFacts:
        is_replica = bool(ferry.follows)
        return FerryFacts(
            role=Role.REPLICA if is_replica else Role.PRIMARY,
            primary=PRIMARIES[ferry.follows] if is_replica else None,
            history=ferry.history,
            offset=len(ferry.holds) if is_replica and not ferry.is_copying else None,
            is_link_up=ferry.is_linked,
            is_busy=ferry.is_copying,
            is_saving=ferry.saving > 0,
            saved_file=f"/backup/{ferry.saved}-summary.dfs" if ferry.saved else "",
            save_error=ferry.save_error,
            keys=len(ferry.holds),
        )

    def apply(self, step: Step) -> None:
        self.steps.append(type(step).__name__)
        ferry = self.ferry
        match step:
            case Write(progress):
                self.status = dict(progress_fields(progress, self.spec.place))
                if progress.phase is Phase.VERIFYING:
                    self.loading = Loading()
            case StartFerry():
                self.ferry, self.loading = FakeFerry(self.progress.ferry), Loading()
            case Wait(seconds=seconds):
                self.now += min(seconds, 30)
            case End():
                self.ferry = None
            case _:
                assert ferry is not None
                self.order(ferry, step)

    def order(self, ferry: FakeFerry, step: Step) -> None:
        match step:
            case Follow(address):
                ferry.follows = next(k for k, v in PRIMARIES.items() if v == address)
                ferry.is_copying = ferry.is_linked = True
                ferry.history, ferry.holds = self.history, frozenset()
            case Detach(history):
                assert ferry.history == history
                ferry.follows, self.cut = "", ferry.holds
                ferry.history, ferry.is_linked = "own", False
            case Save():
                assert not ferry.follows, "written while it still changes"
                ferry.saving = 2
            case ReadBack():
                name = self.progress.basename
                if name in self.damaged:
                    self.loading = Loading(error="wrong signature")
                else:
                    self.loading = Loading(keys=len(self.files[name]))

    def pass_time(self) -> None:
        """Let the engines go on."""
        self.now += 1
        self.writes.add(len(self.writes))
        ferry = self.ferry
        if ferry is None or ferry.exit_code is not None:
            return
        if ferry.follows == self.primary and ferry.is_linked and ferry.history == self.history:
            ferry.is_copying, ferry.holds = False, frozenset(self.writes)
        if ferry.saving:
            ferry.saving -= 1
            if not ferry.saving and self.save_fails:
                self.save_fails -= 1
                ferry.save_error = "No space left on device"
            elif not ferry.saving:
                ferry.saved = self.progress.basename
                self.files[ferry.saved] = ferry.holds

    def turn(self) -> Step:
        step = next_step(self.seen())
        self.apply(step)
        self.pass_time()
        return step

    def finish(self, rounds: int = 400) -> Progress:
        for _ in range(rounds):
            if isinstance(self.turn(), End):
                self.check()
                return self.progress
        raise AssertionError(f"not over: {self.progress}; {self.steps[-12:]}")

    def check(self) -> None:
        progress = self.progress
        if progress.phase is Phase.COMPLETED:
            assert progress.cut is not None
            assert self.files[progress.basename] == self.cut
            assert len(self.cut) == progress.cut.keys
            assert len(self.cut) >= 10, "what was there before it began is missing"
            assert progress.basename not in self.damaged


def fail_over(world: World) -> None:
    world.primary = "p-1" if world.primary == "p-0" else "p-0"
    world.history += "x"
    if world.ferry is not None:
        world.ferry.is_linked = False


def restart_ferry(world: World) -> None:
    if world.ferry is not None:
        world.ferry = FakeFerry(world.ferry.name, world.ferry.restarts + 1)


def lose_ferry(world: World) -> None:
    world.ferry = None


def end_ferry(world: World) -> None:
    if world.ferry is not None:
        world.ferry.exit_code = 137


def copy_anew(world: World) -> None:
    """The link broke, and the ferry copies everything anew by itself."""
    if world.ferry is not None and world.ferry.follows:
        world.ferry.is_copying, world.ferry.holds = True, frozenset()


def change_operator(world: World) -> None:
    world.loading = Loading()


def fail_to_save(world: World) -> None:
    world.save_fails += 1


TROUBLES = (
    fail_over, restart_ferry, lose_ferry, end_ferry, copy_anew, change_operator, fail_to_save
)  # fmt: skip


def test_a_backup_takes_its_way_without_trouble() -> None:
    world = World()
    progress = world.finish()
    assert progress.phase is Phase.COMPLETED
    assert progress.attempt == 1
    assert progress.basename == "nightly-01234567-1"
    once = [each for each in world.steps if each not in ("Wait", "Write")]
    assert once == ["StartFerry", "Follow", "Detach", "Save", "ReadBack", "End"]


def test_a_backup_that_is_not_to_be_read_back_is_over_when_it_is_written() -> None:
    world = World(spec=replace(SPEC, verifies=False))
    assert world.finish().phase is Phase.COMPLETED
    assert "ReadBack" not in world.steps


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda each: each.__name__)
@pytest.mark.parametrize("moment", range(24))
def test_one_trouble_at_any_moment_ends_in_a_good_backup(trouble: object, moment: int) -> None:
    world = World()
    for _ in range(moment):
        world.turn()
    assert callable(trouble)
    trouble(world)
    progress = world.finish()
    assert progress.phase is Phase.COMPLETED, progress
    assert progress.attempt <= 2


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_many_troubles_end_in_a_good_backup_or_a_reason(seed: int) -> None:
    dice = random.Random(seed)
    world = World()
    for _ in range(60):
        if dice.random() < 0.15:
            dice.choice(TROUBLES)(world)
        if isinstance(world.turn(), End):
            break
    world.save_fails = 0
    progress = world.finish(2_000)
    if progress.phase is Phase.FAILED:
        assert progress.attempt == SPEC.backoff_limit + 1
        assert progress.last_error


def test_a_snapshot_that_cannot_be_read_back_is_not_called_good() -> None:
    world = World(damaged={f"nightly-01234567-{number}" for number in range(1, 9)})
    progress = world.finish()
    assert progress.phase is Phase.FAILED
    assert progress.attempt == 4
    assert "wrong signature" in progress.last_error


@pytest.mark.parametrize(
    ("keys", "volatile", "read", "is_good"),
    [(10, 0, 10, True), (10, 0, 9, False), (10, 3, 7, True), (10, 3, 6, False), (10, 0, 11, False)],
)
def test_only_keys_that_expire_may_be_missing_from_what_is_read_back(
    *, keys: int, volatile: int, read: int, is_good: bool
) -> None:
    world = World()
    while world.progress.phase is not Phase.VERIFYING:
        world.turn()
    world.status |= {"keys": keys, "volatileKeys": volatile}
    world.loading = Loading(keys=read)
    step = next_step(world.seen())
    assert isinstance(step, Write)
    assert (step.progress.phase is Phase.COMPLETED) is is_good


def test_attempts_wait_longer_each_time_and_no_longer_than_six_minutes() -> None:
    waits = [decide.backoff_s(number) for number in range(1, 40)]
    assert waits[:4] == [10, 20, 40, 80]
    assert max(waits) == decide.BACKOFF_MAX_S


def test_a_ferry_that_does_not_start_fails_the_attempt_with_its_platforms_words() -> None:
    world = World()
    while not isinstance(next_step(world.seen()), StartFerry):
        world.turn()
    stuck = FerrySight("f", "f", "f/0", "", False, False, None, "Unschedulable: no node fits")
    early = replace(world.seen(), ferry=stuck)
    assert isinstance(next_step(early), Wait)
    step = next_step(replace(early, now=early.now + decide.START_S + 1))
    assert isinstance(step, Write)
    assert "no node fits" in step.progress.last_error


def test_a_store_that_is_not_there_is_waited_for_and_then_told() -> None:
    world = World()
    seen = replace(world.seen(), store=None)
    first = next_step(seen)
    assert isinstance(first, Write)
    assert "there is no Dragonfly cache" in first.progress.last_error
    waiting = replace(seen, progress=first.progress)
    assert isinstance(next_step(waiting), Wait)
    last = next_step(replace(waiting, now=waiting.now + SPEC.attempt_s + 1))
    assert isinstance(last, Write)
    assert last.progress.phase is Phase.FAILED


def test_data_of_another_history_than_the_stores_are_not_taken() -> None:
    world = World()
    while not (isinstance(step := next_step(world.seen()), Write) and step.reason == "Copied"):
        world.turn()
    seen = world.seen()
    assert seen.facts is not None
    step = next_step(replace(seen, facts=replace(seen.facts, history="stranger")))
    assert isinstance(step, Wait)
    assert "does not hold the data store's data" in step.reason


def test_an_attempt_that_takes_too_long_is_given_up() -> None:
    world = World()
    while world.progress.phase is not Phase.SAVING:
        world.turn()
    step = next_step(replace(world.seen(), now=world.now + SPEC.attempt_s + 1))
    assert isinstance(step, Write)
    assert "longer than 600 s" in step.progress.last_error


def test_what_the_ferry_refuses_to_write_is_told_in_its_words() -> None:
    world = World()
    while not isinstance(next_step(world.seen()), Save):
        world.turn()
    step = next_step(replace(world.seen(), refusal="Couldn't open file for writing"))
    assert isinstance(step, Write)
    assert "Couldn't open file" in step.progress.last_error


def test_progress_is_read_back_as_it_was_written() -> None:
    world = World()
    while world.progress.phase is not Phase.COMPLETED:
        before = next_step(world.seen())
        if isinstance(before, Write):
            whole = replace(
                before.progress,
                started_at=float(int(before.progress.started_at)),
            )
            kept = {k: v for k, v in progress_fields(whole, SPEC.place).items() if v is not None}
            assert progress_of(kept) == whole
        world.turn()
