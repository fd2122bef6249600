"""Lines of recordings: what is written can be read, and what cannot be believed is refused."""

import base64
import json
import pickle
import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everfly.core.effects import Notify
from everfly.core.inputs import Input, LinkLost, TimerExpired
from everfly.core.machine import Machine
from everfly.core.model import GroupName, Instant, LinkId
from everfly.core.notices import Event, Notice
from everfly.core.policy import Policy
from everfly.wire.recording import (
    FAILED,
    KINDS,
    End,
    Head,
    Step,
    digest,
    end_line,
    head_line,
    pack,
    parse_head,
    parse_line,
    step_line,
    unpack,
)
from recorded_life import BEGAN, SEED, STATE, Life

HEAD = Head("0.1", "2026-01-31T12:00:00.000+00:00", BEGAN, 26379, SEED, Policy(), STATE)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
@given(data=st.data())
def test_every_input_is_read_as_it_was_written(kind: type[Input], data: st.DataObject) -> None:
    step = Step(Instant(7), data.draw(st.from_type(kind)), "0badcafe")
    line = step_line(step)
    assert "\n" not in line
    assert parse_line(line) == step


def test_a_start_an_end_and_a_failure_are_read_as_they_were_written() -> None:
    for item in (Step(Instant(0), None, ""), Step(Instant(1), TimerExpired(), FAILED)):
        assert parse_line(step_line(item)) == item
    assert parse_line(end_line(End("it was full"))) == End("it was full")
    assert parse_head(head_line(HEAD)) == HEAD


def test_fields_with_their_default_take_no_room_in_steps_and_all_stand_in_the_head() -> None:
    assert step_line(Step(Instant(1), LinkLost(LinkId(2), "x"), "")) == (
        '[1,"LinkLost",{"link":2,"reason":"x"}]'
    )
    assert json.loads(head_line(HEAD))["policy"]["info_wait"] == Policy().info_wait


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "no JSON"),
        ("[1", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("{}", "neither a step nor an end"),
        ("[1]", "neither"),
        ('["1","Ponged",{}]', "neither"),
        ('[1,"Ponged",{},"a","b"]', "neither"),
        ('[1,"Ponged",{},1]', "digest is 1"),
        ('[1,"Ponged",{"link":1}]', "Ponged is incomplete"),
        ('[1,"Ponged",{"link":"1","reply":"PONG"}]', "'1' is no int"),
        ('[1,"Ponged",{"link":true,"reply":"PONG"}]', "True is no int"),
        ('[1,"Ponged",{"link":1,"reply":"PONG","x":1}]', "Ponged has no 'x'"),
        ('[1,"Machine",{}]', "knows no input 'Machine'"),
        ('[1,"InfoReceived",{"link":1,"report":{"role":"KING"}}]', "'KING' is no Role"),
        ('[1,"InfoReceived",{"link":1,"report":{"replicas":7}}]', "7 is no list"),
        ('[1,"InfoReceived",{"link":1,"report":7}]', "7 is no InstanceReport"),
        ('[1,"PolicyChanged",{"token":1,"changes":[["a"]]}]', "no list of 2"),
    ],
)
def test_a_line_that_does_not_fit_is_refused(line: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_line(line)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[]", "does not begin like a recording"),
        ('{"x":1}', "does not begin like a recording"),
        ('{"everfly-recording":99}', "format 99, this program reads 1"),
        ('{"everfly-recording":1}', "Head is incomplete"),
    ],
)
def test_a_file_of_something_else_is_refused(line: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_head(line)


def test_a_digest_tells_effects_apart_and_leaves_secrets_out() -> None:
    def said(text: str) -> Notify:
        return Notify(Notice(Event.LINK_LOST, GroupName("cache"), None, text))

    assert digest([]) == ""
    assert digest([said("a")]) != digest([said("b")])
    assert digest([said("a hunter2 b")], ["hunter2"]) == digest([said("a (secret) b")])


def test_a_core_that_was_packed_goes_on_as_it_would_have() -> None:
    life = Life(_fresh(), dies_at=5_000).until(4_000)
    machine = life.machine
    assert isinstance(machine, Machine)
    copy = unpack(pack(machine))
    for at in range(BEGAN + 4_000, BEGAN + 9_000, 7):
        now = Instant(at)
        assert copy.step(now, TimerExpired()) == machine.step(now, TimerExpired())
        assert copy.next_deadline() == machine.next_deadline()
    assert copy.durable_state() == machine.durable_state()


def _fresh() -> Machine:
    return Machine(STATE, port=26379, dice=random.Random(SEED), policy=Policy())


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return (print, ("run",))


def test_a_checkpoint_cannot_run_anything(capsys: pytest.CaptureFixture[str]) -> None:
    def checkpoint(value: object) -> str:
        return base64.b85encode(zlib.compress(pickle.dumps(value))).decode()

    with pytest.raises(ValueError, match=r"builtins.print has no place in a core"):
        unpack(checkpoint(Evil()))
    with pytest.raises(ValueError, match="holds a Address, not a core"):
        unpack(checkpoint(STATE.groups[0].primary))
    with pytest.raises(ValueError, match="checkpoint cannot be read"):
        unpack("no base 85 \x00")
    assert capsys.readouterr().out == ""
