"""Pictures show ages at the instant for which they are asked."""

from everfly.core.inputs import HelloHeard
from everfly.core.model import (
    Address,
    Epoch,
    GroupName,
    Hello,
    InstanceReport,
    Instant,
    Millis,
    Role,
)
from everfly.core.policy import GroupSettings
from everfly.core.snapshot import DurableState, GroupState, LinkView
from scenarios.surroundings import Attitude, Surroundings, run_id_of

CACHE = GroupName("cache")
PRIMARY = Address("10.0.0.1", 6379)
PEER = Address("10.0.0.12", 26379)
PEER_ID = run_id_of("sentinel-b")


def watched(attitude: Attitude) -> Surroundings:
    """Return the surroundings of one group and one peer, watched since instant 1000."""
    world = Surroundings("sentinel-a", now=1_000)
    for party in (world.add("alpha", PRIMARY), world.add("sentinel-b", PEER)):
        party.attitude = attitude
        party.report = InstanceReport(role=Role.PRIMARY)
    settings = GroupSettings(2, Millis(60_000), Millis(60_000))
    state = GroupState(CACHE, PRIMARY, settings, peers=((PEER, PEER_ID),))
    world.start(DurableState(run_id_of("sentinel-a"), groups=(state,)))
    return world


def test_a_link_that_owes_nothing_shows_no_outstanding_ping() -> None:
    world = watched(Attitude.WELL)
    world.advance(1_900)
    view = world.machine.group_view(Instant(1_950), CACHE)
    assert view is not None
    settled = LinkView(
        is_connected=True,
        pending=0,
        shared_by=1,
        last_ping_sent_ago=Millis(0),
        last_ok_ping_ago=Millis(950),
        last_ping_reply_ago=Millis(950),
    )
    assert view.primary.link == view.peers[0].link == settled


def test_a_silent_link_shows_the_age_of_its_first_unanswered_ping() -> None:
    world = watched(Attitude.SILENT)
    world.advance(5_000)
    view = world.machine.group_view(Instant(5_500), CACHE)
    assert view is not None
    assert view.primary.link.last_ping_sent_ago == 4_500
    assert view.primary.link.last_ok_ping_ago == 4_500


def test_a_bad_pong_is_a_reply_and_no_sign_of_health() -> None:
    world = watched(Attitude.WELL)
    for party in world.parties.values():
        party.pong = "NOAUTH Authentication required."
    world.advance(4_500)
    view = world.machine.group_view(Instant(4_600), CACHE)
    assert view is not None
    for link in (view.primary.link, view.peers[0].link):
        assert link.last_ok_ping_ago == 3_600
        assert link.last_ping_reply_ago == 600


def test_hellos_and_reported_roles_have_an_age() -> None:
    world = watched(Attitude.WELL)
    world.advance(3_000)
    hello = Hello(PEER, PEER_ID, Epoch(0), CACHE, PRIMARY, Epoch(0))
    world.give(HelloHeard(None, hello))
    view = world.machine.group_view(Instant(3_700), CACHE)
    assert view is not None
    assert view.peers[0].last_hello_ago == 700
    assert view.primary.role_reported == "master"
    assert view.primary.role_reported_for == 2_700
    assert view.primary.info_ago == 700
