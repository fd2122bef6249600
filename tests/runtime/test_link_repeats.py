"""What comes again and again over a link takes a short way, and means the same."""

import random

import pytest

from everfly.core.effects import Purpose
from everfly.core.inputs import ChannelHeard, HelloHeard, HelloSent, LinkLost, Ponged
from everfly.runtime.link_connection import REPEATS_MAX
from link_bench import HELLO, ONE, PEER, bench
from loopback import message, scripted_instance
from shell_doubles import ME, turns, until

HELLO_BYTES = b"127.0.0.2,26379," + PEER.encode() + b",3,cache,127.0.0.1,6379,2"


async def test_what_is_said_again_on_a_channel_is_told_again_wherever_it_is_cut() -> None:
    own = message(b"127.0.0.1,26379," + ME.encode() + b",3,cache,127.0.0.1,6379,2")
    usual_one, unusual = message(HELLO_BYTES), message(b"nonsense")
    expected = {
        own: ChannelHeard(ONE),
        usual_one: HelloHeard(ONE, HELLO),
        unusual: ChannelHeard(ONE),
    }
    dice = random.Random(5)
    async with scripted_instance() as instance, bench() as it:
        await it.open(instance, Purpose.CHANNEL)
        it.take()
        for _ in range(100):
            said = dice.choices([own, usual_one, unusual], k=dice.randint(1, 3))
            stream = b"".join(said)
            cut = dice.choice([len(stream), dice.randint(1, len(stream) - 1)])
            instance.visit.say(stream[:cut])
            await turns(3)
            if stream[cut:]:
                instance.visit.say(stream[cut:])
            assert await it.told(len(said)) == [expected[each] for each in said]


async def test_hellos_of_ever_new_words_are_all_told() -> None:
    async with scripted_instance() as instance, bench() as it:
        await it.open(instance, Purpose.CHANNEL)
        it.take()
        for epoch in range(2 * REPEATS_MAX):
            payload = b"127.0.0.2,26379," + PEER.encode() + b",%d,cache,127.0.0.1,6379,0" % epoch
            instance.visit.say(message(payload))
            (fact,) = await it.told(1)
            assert isinstance(fact, HelloHeard)
            assert fact.hello.current_epoch == epoch


@pytest.mark.parametrize("answers", [b"+PONG\r\n:3\r\n", b":3\r\n+PONG\r\n", b"+PONG\r\n+OK\r\n"])
async def test_answers_that_come_together_are_one_fact_each(answers: bytes) -> None:
    async with scripted_instance() as instance, bench() as it:
        await it.open(instance)
        it.take()
        instance.answer = lambda _: b""
        it.pool.ping(ONE)
        it.pool.publish(ONE, HELLO)
        it.pool.end_turn()
        await until(lambda: len(instance.visit.commands) == 3)
        instance.visit.say(answers)
        first, second = await it.told(2)
        assert isinstance(first, Ponged)
        assert second == HelloSent(ONE)


@pytest.mark.parametrize("answers", [b"+PONG\r\n", b":1\r\n", b"+PONG\r\n:1\r\n"])
async def test_usual_answers_that_nobody_asked_for_end_the_link(answers: bytes) -> None:
    async with scripted_instance() as instance, bench() as it:
        await it.open(instance)
        it.take()
        instance.visit.say(answers)
        (fact,) = await it.told(1)
        assert isinstance(fact, LinkLost)
        assert "nobody asked for" in fact.reason
        await turns()
        assert it.take() == []
