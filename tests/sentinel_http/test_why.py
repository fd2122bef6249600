"""The timeline, the counts and the messages that are made of notices and explanations."""

import json
from datetime import UTC, datetime

import pytest

from everfly.core.effects import Explain
from everfly.core.model import GroupName, RunId
from everfly.core.notices import Event, Notice, Subject
from everfly.sentinel.callouts import Severity, json_body, severity_of, slack_body
from everfly.sentinel.page import page_response
from everfly.sentinel.tally import Tally
from everfly.sentinel.why import ENTRIES_MAX, PER_GROUP_MAX, Timeline, Why
from everfly.wire.exposition import Family, Histogram, Kind

ME = RunId("a" * 40)
ONE, TWO = GroupName("one"), GroupName("two")
NOON = datetime(2026, 1, 31, 12, 0, 0, 123_000, tzinfo=UTC)


def primary(event: Event, group: GroupName = ONE, detail: str = "") -> Notice:
    return Notice(event, group, Subject("master", group, "10.0.0.1", 6379), detail)


def timeline() -> Timeline:
    return Timeline(lambda _: None, clock=lambda: NOON)


def test_entries_are_numbered_and_asked_for_by_number_and_group() -> None:
    past = timeline()
    for group in (ONE, TWO, ONE):
        past.on_notice(primary(Event.S_DOWN, group))
    assert [entry.number for entry in past.entries()] == [1, 2, 3]
    assert [entry.number for entry in past.entries(ONE)] == [1, 3]
    assert [entry.number for entry in past.entries(after=1, limit=1)] == [3]
    assert past.entries(GroupName("none")) == []


def test_a_busy_group_pushes_out_its_own_past_alone() -> None:
    past = timeline()
    past.on_notice(primary(Event.S_DOWN, TWO))
    for _ in range(3 * PER_GROUP_MAX):
        past.on_notice(primary(Event.S_DOWN, ONE))
    assert len(past) == PER_GROUP_MAX + 1
    assert [entry.number for entry in past.entries(TWO)] == [1]


def test_the_past_of_all_groups_together_is_bounded() -> None:
    past = timeline()
    for number in range(ENTRIES_MAX + 10):
        past.on_notice(primary(Event.S_DOWN, GroupName(f"g{number}")))
    assert len(past) == ENTRIES_MAX
    assert past.entries(GroupName("g0")) == []
    assert len(past.entries(GroupName("g10"))) == 1


def test_debug_chatter_is_not_kept() -> None:
    past = timeline()
    past.on_notice(primary(Event.LINK_LOST))
    assert len(past) == 0


def test_a_switch_is_explained_by_the_choice_of_this_attempt_alone() -> None:
    past = timeline()
    choice = Explain(ONE, "choice of a new primary, epoch 1", ("a chosen", "b rejected: x"))
    past.on_explanation(choice)
    past.on_explanation(Explain(ONE, "10.0.0.9:6379 is subjectively down", ("silent",)))
    assert past.why(primary(Event.SWITCH)) == Why(choice.decision, choice.facts)
    past.on_notice(primary(Event.TRY_FAILOVER))
    assert past.why(primary(Event.SWITCH)) is None
    assert past.why(primary(Event.SWITCH, TWO)) is None


def test_a_down_is_explained_only_by_its_own_reason() -> None:
    past = timeline()
    past.on_explanation(Explain(ONE, "10.0.0.1:6379 is subjectively down", ("silent",)))
    assert past.why(primary(Event.S_DOWN)) == Why("10.0.0.1:6379 is subjectively down", ("silent",))
    other = Notice(Event.S_DOWN, ONE, Subject("slave", "x", "10.0.0.1", 637))
    assert past.why(other) is None


def test_phases_are_the_times_between_notices() -> None:
    now = [100.0]
    tally = Tally(ME, lambda: now[0])
    for event, at in [
        (Event.S_DOWN, 100.0),
        (Event.O_DOWN, 100.5),
        (Event.TRY_FAILOVER, 101.0),
        (Event.ELECTED, 103.0),
        (Event.SELECTED, 103.25),
        (Event.PROMOTED, 104.25),
        (Event.END_FOR_TIMEOUT, 112.25),
        (Event.END, 112.25),
        (Event.SWITCH, 112.25),
    ]:
        now[0] = at
        tally.on_notice(primary(event))
    group = tally.groups[ONE]
    assert {phase: histogram.sum for phase, histogram in group.phases.items()} == {
        "detection": 0.5,
        "election": 2.0,
        "selection": 0.25,
        "promotion": 1.0,
        "reconfiguration": 8.0,
        "total": 11.25,
    }
    assert group.outcomes["completed_late"] == 1
    assert sum(group.outcomes.values()) == 1
    assert group.switches == {"self": 1, "peer": 0}


@pytest.mark.parametrize(
    ("events", "outcome"),
    [
        ([Event.TRY_FAILOVER, Event.ABORT_NOT_ELECTED], "not_elected"),
        ([Event.TRY_FAILOVER, Event.ELECTED, Event.ABORT_NO_GOOD_REPLICA], "no_good_replica"),
        ([Event.TRY_FAILOVER, Event.SELECTED, Event.ABORT_REPLICA_TIMEOUT], "replica_timeout"),
        ([Event.TRY_FAILOVER, Event.SWITCH], "superseded"),
        ([Event.TRY_FAILOVER, Event.PROMOTED, Event.END], "completed"),
    ],
)
def test_each_attempt_has_one_outcome(events: list[Event], outcome: str) -> None:
    tally = Tally(ME, lambda: 0.0)
    for event in events:
        tally.on_notice(primary(event))
    counted = {name: count for name, count in tally.groups[ONE].outcomes.items() if count}
    assert counted == {outcome: 1}


def test_what_another_sentinel_did_is_no_failover_of_ours() -> None:
    tally = Tally(ME, lambda: 0.0)
    tally.on_notice(Notice(Event.VOTE, ONE, None, f"{'b' * 40} 3", is_detail_only=True))
    tally.on_notice(primary(Event.SWITCH))
    assert tally.groups[ONE].switches == {"self": 0, "peer": 1}
    assert tally.groups[ONE].votes == {"self": 0, "peer": 1}
    assert not any(tally.groups[ONE].outcomes.values())
    tally.on_notice(primary(Event.UNMONITOR))
    assert ONE not in tally.groups


def test_a_message_has_all_facts_and_a_chat_shows_them_as_they_are() -> None:
    name = GroupName("<!channel> & co")
    notice = Notice(Event.O_DOWN, name, Subject("master", name, "10.0.0.1", 6379), "#quorum 2/2")
    why = Why("choice", ("<b> chosen", "c rejected: \udcff"))
    assert json.loads(json_body(ME, notice, NOON, why)) == {
        "event": "+odown",
        "payload": "master <!channel> & co 10.0.0.1 6379 #quorum 2/2",
        "group": "<!channel> & co",
        "severity": "critical",
        "time": "2026-01-31T12:00:00.123+00:00",
        "sentinel_id": ME,
        "why": {"decision": "choice", "facts": ["<b> chosen", "c rejected: \ufffd"]},
    }
    text = json.loads(slack_body(ME, notice, NOON, why))["text"]
    assert text.startswith("[CRITICAL] *&lt;!channel&gt; &amp; co* `+odown` master ")
    assert "- &lt;b&gt; chosen\n" in text
    assert "<" not in text
    many = slack_body(ME, notice, NOON, Why("choice", tuple(map(str, range(40)))))
    assert "and 28 more" in json.loads(many)["text"]


def test_every_event_has_a_severity() -> None:
    critical = {event.wire for event in Event if severity_of(event) is Severity.CRITICAL}
    assert "+odown" in critical
    assert "+slave" not in critical
    assert severity_of(Event.SWITCH) is Severity.WARNING
    assert severity_of(Event.S_UP) is Severity.INFO


def test_labels_are_escaped_and_buckets_add_up() -> None:
    family = Family("m_seconds", Kind.HISTOGRAM, "Help.", ("group",))
    histogram = Histogram((0.1, 1.0))
    for value in (0.1, 0.5, 7.0):
        histogram.add(value)
    assert family.buckets(histogram, 'a"b\\c\nd\udcff') == "".join(
        f"m_seconds_{line}\n"
        for line in (
            'bucket{group="a\\"b\\\\c\\nd\ufffd",le="0.1"} 1',
            'bucket{group="a\\"b\\\\c\\nd\ufffd",le="1"} 2',
            'bucket{group="a\\"b\\\\c\\nd\ufffd",le="+Inf"} 3',
            'sum{group="a\\"b\\\\c\\nd\ufffd"} 7.6',
            'count{group="a\\"b\\\\c\\nd\ufffd"} 3',
        )
    )


def test_the_page_is_self_contained_and_runs_only_its_own_script() -> None:
    page = page_response()
    text = page.body.decode()
    policy = dict(page.headers)["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert policy.count("'sha256-") == 2
    # Nothing from elsewhere, and nothing that puts a text in as markup.
    assert "http://www.w3.org/2000/svg" in text
    assert text.replace("http://www.w3.org/2000/svg", "").count("://") == 0
    assert 'src="' not in text
    for word in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", " style="):
        assert word not in text
