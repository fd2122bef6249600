"""One history, two Sentinels: what ours publishes is what a genuine one publishes.

Each lives through the same history on a group of its own, alone (quorum 1), step by step; a step
ends when its last event has arrived. Then the two streams are compared, with ports and ids under
names of their part. Where ours differs on purpose, `DIFFERENCES` says so.
"""

import re
from collections import Counter
from dataclasses import dataclass
from functools import partial

import pytest

from event_log import EventLog
from kinds import OURS, Kind, missing, needs_patience
from processes import until
from servers import Deployment, Shape

pytestmark = [pytest.mark.compat, pytest.mark.slow]

YARDSTICK = Kind.REDIS

DIFFERENCES = {
    # Ours remembers an instance over a change of its role, so it sees that it restarted; to the
    # genuine one it is a stranger after the switch.
    "return of the old primary": {"+reboot slave OLD OLD @ default-primary NEW"},
    # The genuine one leaves the living primary alone and demotes it as a stray 10 s later; ours has
    # it follow before anyone can write to it.
    "forced failover": {
        "-role-change slave NEW NEW @ default-primary LAST new reported role is master",
        "+convert-to-slave slave NEW NEW @ default-primary LAST",
        "+role-change slave NEW NEW @ default-primary LAST new reported role is slave",
    },
}
"""Step -> events that only one of them publishes."""


@dataclass
class Step:
    """A part of the history."""

    name: str
    events: Counter[str]


def play(kind: Kind) -> list[Step]:
    """Live through the history with one Sentinel; return what it said in each step."""
    steps: list[Step] = []
    # A long down-after: on a busy machine a genuine Sentinel with 1 s fails over out of the blue.
    shape = Shape(kinds=(kind,), quorum=1, down_after=3_000, failover_timeout=6_000)
    with Deployment(shape) as deployment:
        sentinel = deployment.sentinels[0]
        name = deployment.name
        with EventLog([sentinel.port]) as log:
            taken = 0

            def end(step: str, *, last: str, count: int = 1) -> None:
                """Wait for the last event of a step, and take all that have come."""
                nonlocal taken
                until(
                    lambda: sum(e.channel == last for e in log.since()[taken:]) >= count,
                    30.0,
                    show=log.__str__,
                )
                events = log.since()
                said = Counter(_plain(f"{e.channel} {e.payload}", names) for e in events[taken:])
                taken = len(events)
                steps.append(Step(step, said))

            first, second, third = deployment.group.instances
            names = {str(first.port): "FIRST", str(second.port): "SECOND", str(third.port): "THIRD"}

            sentinel.ask("SENTINEL", "MONITOR", "other", "127.0.0.1", first.port, "1")
            end("monitor", last="+slave", count=2)
            for option, value in (("quorum", "2"), ("down-after-milliseconds", "500")):
                sentinel.ask("SENTINEL", "SET", "other", option, value)
            sentinel.ask("SENTINEL", "SET", "other", "auth-pass", "secret")
            end("set", last="+set", count=3)
            sentinel.ask("SENTINEL", "REMOVE", "other")
            end("remove", last="-monitor")
            sentinel.ask("SENTINEL", "RESET", name)
            end("reset", last="+slave", count=2)
            until(
                lambda: all(one["runid"] for one in sentinel.replicas(name)),
                30.0,
                show=deployment.picture,
            )
            third.kill()
            end("death of a replica", last="+sdown")
            third.start_as_left()
            end("return of a replica", last="+reboot")

            first.kill()
            new = deployment.new_primary(first)
            other = second if new is third else third
            names |= {str(first.port): "OLD", str(new.port): "NEW", str(other.port): "OTHER"}
            end("death of the primary", last="+slave", count=2)
            end("the dead one as a replica", last="+sdown")
            first.start()
            end("return of the old primary", last="+role-change")
            until(partial(first.follows, new.port), 30.0, show=log.__str__)

            sentinel.ask("SENTINEL", "FAILOVER", name)
            last = deployment.new_primary(new)
            rest = first if last is other else other
            names |= {str(last.port): "LAST", str(rest.port): "REST"}
            until(partial(new.follows, last.port), 30.0, show=log.__str__)
            end("forced failover", last="+slave", count=2)
    return steps


def _plain(event: str, names: dict[str, str]) -> str:
    """Return an event with names for ports and without ids."""
    event = re.sub(r"127\.0\.0\.1[: ](\d+)", lambda match: names.get(match[1], match[1]), event)
    return re.sub(r"\b[0-9a-f]{40}\b", "ID", event)


@pytest.mark.skipif(bool(needs_patience()), reason=needs_patience())
@pytest.mark.skipif(bool(missing(YARDSTICK)), reason=missing(YARDSTICK) or "")
def test_the_same_history_is_told_in_the_same_events() -> None:
    assert OURS is not YARDSTICK
    ours, genuine = play(OURS), play(YARDSTICK)
    assert [step.name for step in ours] == [step.name for step in genuine]
    for mine, theirs in zip(ours, genuine, strict=True):
        allowed = DIFFERENCES.get(mine.name, set())
        assert _without(mine.events, allowed) == _without(theirs.events, allowed), mine.name


def _without(events: Counter[str], allowed: set[str]) -> dict[str, int]:
    return {event: count for event, count in events.items() if event not in allowed}
