"""Moves in the life of one machine: what may come in, plausible or not, as hypothesis strategies.

Moves name links by position (also links that are gone, or never were), so that a list of moves
means something for any machine.
"""

from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import strategies as st

from everfly.core import inputs
from everfly.core.inputs import Input
from everfly.core.model import (
    Address,
    Engine,
    Epoch,
    GroupName,
    HandOver,
    Hello,
    InstanceReport,
    LinkId,
    Millis,
    Role,
    RunId,
    Token,
)
from everfly.core.policy import GroupSettings
from everfly.core.snapshot import DurableState, GroupState

ME = RunId("a" * 40)
PEERS = [RunId(letter * 40) for letter in "bcd"]
PLACES = [Address(f"10.0.0.{n}", 6379) for n in range(1, 5)]
PEER_PLACES = [Address(f"10.0.1.{n}", 26379) for n in range(1, 5)]
NAMES = [GroupName("cache"), GroupName("sessions"), GroupName("unknown")]
SETTINGS = GroupSettings(2, Millis(1_000), Millis(4_000))

STATE = DurableState(
    me=ME,
    current_epoch=Epoch(1),
    groups=(
        GroupState(
            NAMES[0],
            PLACES[0],
            SETTINGS,
            replicas=(PLACES[1], PLACES[2]),
            peers=((PEER_PLACES[0], PEERS[0]), (PEER_PLACES[1], PEERS[1])),
        ),
    ),
)

Make = Callable[[LinkId], Input]


@dataclass(frozen=True)
class Over:
    """A fact of the link at a position among all that there ever were."""

    position: int
    make: Make


@dataclass(frozen=True)
class Pass:
    """Time passes; the timer fires when it should, or this process sleeps."""

    by: int
    is_asleep: bool


@dataclass(frozen=True)
class Live:
    """Time passes and the world behaves: who is not dead connects, answers, obeys, and votes."""

    by: int
    dead: frozenset[Address]
    vote: RunId


Move = Input | Over | Pass | Live

epochs = st.integers(0, 12).map(Epoch)
places = st.sampled_from(PLACES)
names = st.sampled_from(NAMES)
tokens = st.just(Token(1))
run_ids = st.sampled_from([ME, *PEERS])
reports = st.builds(
    InstanceReport,
    role=st.sampled_from([None, Role.PRIMARY, Role.REPLICA]),
    engine=st.sampled_from(Engine),
    run_id=st.sampled_from(["", "1", "2"]),
    history=st.sampled_from(["", "h1", "h2"]),
    history_before=st.sampled_from(["", "h1"]),
    offset=st.one_of(st.none(), st.integers(0, 3)),
    replicas=st.lists(places, max_size=3).map(tuple),
    primary=st.one_of(st.none(), places),
    primary_link_up=st.booleans(),
    primary_link_down_for=st.one_of(st.none(), st.integers(0, 60_000).map(Millis)),
    is_syncing=st.booleans(),
    priority=st.sampled_from([0, 50, 100]),
    hands_over=st.sampled_from(HandOver),
    uptime_s=st.one_of(st.none(), st.integers(0, 3)),
)
group_settings = st.builds(
    GroupSettings,
    quorum=st.integers(1, 3),
    down_after=st.sampled_from([1, 500, 1_000, 30_000]).map(Millis),
    failover_timeout=st.sampled_from([1, 1_000, 4_000]).map(Millis),
    parallel_syncs=st.integers(1, 2),
    reboot_down_after=st.sampled_from([0, 500]).map(Millis),
)
ask_answers = st.tuples(names, st.booleans(), st.one_of(st.none(), run_ids), epochs)
errors = st.sampled_from([None, "NOPERM x"])
pongs = st.sampled_from(["PONG", "LOADING", "MASTERDOWN", "BUSY x", "NOAUTH x", ""])


def link_facts() -> st.SearchStrategy[Make]:
    def asked(answer: tuple[GroupName, bool, RunId | None, Epoch]) -> Make:
        return lambda link: inputs.AskReplied(link, *answer)

    def ponged(reply: str) -> Make:
        return lambda link: inputs.Ponged(link, reply)

    def informed(report: InstanceReport) -> Make:
        return lambda link: inputs.InfoReceived(link, report)

    def lost(is_refusal: bool) -> Make:
        return lambda link: inputs.LinkLost(link, "reset", is_refusal)

    def taken_over(error: str | None) -> Make:
        return lambda link: inputs.TakeOverAnswered(link, error)

    def paused(answer: tuple[bool, str | None]) -> Make:
        return lambda link: inputs.PauseAnswered(link, *answer)

    def fixed(make: Make) -> st.SearchStrategy[Make]:
        return st.just(make)

    return st.one_of(
        fixed(lambda link: inputs.Connected(link, "10.0.0.99")),
        st.booleans().map(lost),
        errors.map(taken_over),
        st.tuples(st.booleans(), errors).map(paused),
        fixed(inputs.HelloSent),
        fixed(inputs.ScriptKilled),
        fixed(inputs.ChannelHeard),
        fixed(inputs.Reconfigured),
        fixed(lambda link: inputs.CommandRefused(link, "ERR")),
        pongs.map(ponged),
        reports.map(informed),
        ask_answers.map(asked),
    )


hellos = st.builds(
    Hello,
    sender=st.sampled_from(PEER_PLACES),
    sender_run_id=run_ids,
    current_epoch=epochs,
    group=names,
    primary=places,
    config_epoch=epochs,
)
requests = st.one_of(
    st.builds(inputs.MonitorRequested, tokens, names, places, group_settings),
    st.builds(inputs.RemoveRequested, tokens, names),
    st.builds(inputs.ResetRequested, tokens, st.lists(names, max_size=2, unique=True).map(tuple)),
    st.builds(inputs.FailoverRequested, tokens, names),
    st.builds(
        inputs.SettingsChanged,
        tokens,
        names,
        group_settings,
        st.just((("quorum", "2"),)),
        st.booleans(),
    ),
    st.builds(
        inputs.AnnouncementChanged,
        tokens,
        st.sampled_from(["", "192.0.2.1"]),
        st.sampled_from([0, 7]),
        st.booleans(),
        st.booleans(),
    ),
    st.builds(
        inputs.PolicyChanged,
        tokens,
        st.sampled_from(
            [
                (("ping_period", 50),),
                (("info_period", 50),),
                (("ask_period", 10),),
                (("fast_down", True),),
                (("forget_after", 500),),
                (("hands_over", False),),
            ]
        ),
    ),
    st.builds(inputs.FailureSimulationRequested, tokens, st.booleans(), st.booleans()),
    st.builds(inputs.FlushRequested, tokens),
)
dead = st.frozensets(st.sampled_from([*PLACES, *PEER_PLACES]), max_size=3)
moves: st.SearchStrategy[Move] = st.one_of(
    st.builds(Pass, st.sampled_from([0, 1, 60, 150, 1_001, 2_500]), st.just(value=False)),
    st.builds(Pass, st.sampled_from([100, 4_001, 31_000]), st.booleans()),
    st.builds(Live, st.sampled_from([0, 300, 1_500, 4_500]), dead, run_ids),
    st.builds(Live, st.sampled_from([300, 1_500]), dead, st.just(ME)),
    st.builds(Over, st.integers(0, 25), link_facts()),
    st.builds(Over, st.integers(0, 25), link_facts()),
    st.builds(inputs.FailoverRequested, tokens, st.just(NAMES[0])),
    st.builds(inputs.HelloHeard, st.one_of(st.none(), st.just(LinkId(2))), hellos),
    st.builds(inputs.VoteRequested, tokens, places, epochs, st.one_of(st.none(), run_ids)),
    requests,
    st.just(inputs.TimerExpired()),
)
runs = st.one_of(st.lists(moves, max_size=10), st.lists(moves, min_size=20, max_size=50))
