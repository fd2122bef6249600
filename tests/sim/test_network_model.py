"""Connections behave as TCP does: order within one, none between two, silence, resets."""

from everfly.sim.network import Connection
from sim.sim_bench import Bench


def connect(bench: Bench) -> tuple[Connection, list[str]]:
    one, other = bench.instance(0), bench.instance(1)
    found: list[Connection] = []
    heard: list[str] = []
    bench.network.connect(one, other.address, found.append, lambda why, _: heard.append(why))
    bench.wait(2_000)
    return found[0], heard


def test_messages_keep_their_order_in_loss_and_over_a_cut() -> None:
    bench = Bench()
    connection, _ = connect(bench)
    bench.network.loss = 0.4
    heard: list[int] = []
    for number in range(200):
        if number == 60:
            cut = bench.network.cut({(connection.source.name, connection.target.name)})
        if number == 140:
            cut.end()
        connection.send(connection.source, lambda number=number: heard.append(number))  # type: ignore[misc]
        bench.wait(7)
    bench.wait(60_000)
    assert heard == list(range(200))


def test_messages_of_two_connections_can_overtake_each_other() -> None:
    overtaken = 0
    for seed in range(20):
        bench = Bench(seed=seed)
        bench.network.latency_ms = (0, 50)
        one, other = bench.instance(0), bench.instance(1)
        found: list[Connection] = []
        for _ in range(2):
            bench.network.connect(one, other.address, found.append, lambda *_: None)
        bench.wait(500)
        heard: list[int] = []
        found[0].send(one, lambda heard=heard: heard.append(0))  # type: ignore[misc]
        found[1].send(one, lambda heard=heard: heard.append(1))  # type: ignore[misc]
        bench.wait(500)
        overtaken += heard == [1, 0]
    assert 0 < overtaken < 20


def test_what_was_sent_before_an_end_is_read_and_then_the_end() -> None:
    bench = Bench()
    connection, heard = connect(bench)
    read: list[str] = []
    connection.on_target_lost = lambda: read.append("end")
    connection.send(connection.source, lambda: read.append("order"))
    connection.close(connection.source)
    connection.send(connection.target, lambda: heard.append("late answer"))
    bench.wait(100)
    assert read == ["order", "end"]
    assert heard == []


def test_a_stopped_process_reads_a_closed_connection_when_it_goes_on() -> None:
    bench = Bench()
    connection, _ = connect(bench)
    target = connection.target
    target.pause()  # type: ignore[attr-defined]
    read: list[str] = []
    connection.send(connection.source, lambda: read.append("order"))
    connection.close(connection.source)
    bench.wait(5_000)
    assert read == []
    target.resume()  # type: ignore[attr-defined]
    assert read == ["order"]


def test_a_dead_process_resets_and_refuses() -> None:
    bench = Bench()
    connection, heard = connect(bench)
    connection.target.kill()  # type: ignore[attr-defined]
    bench.wait(100)
    assert heard == ["Connection reset by peer"]
    refused: list[tuple[str, bool]] = []
    bench.network.connect(
        connection.source,
        connection.target.address,  # type: ignore[attr-defined]
        lambda _: None,
        lambda why, is_refusal: refused.append((why, is_refusal)),
    )
    bench.wait(100)
    assert refused == [("Connection refused", True)]


def test_a_dead_process_behind_a_cut_is_silence() -> None:
    bench = Bench()
    connection, heard = connect(bench)
    cut = bench.network.cut({(connection.target.name, connection.source.name)})
    connection.target.kill()  # type: ignore[attr-defined]
    bench.wait(30_000)
    assert heard == []
    cut.end()
    bench.wait(2_000)
    assert heard == ["Connection reset by peer"]


def test_two_cuts_of_one_pair_end_one_after_the_other() -> None:
    bench = Bench()
    first = bench.network.cut({("a", "b")})
    second = bench.network.cut({("a", "b"), ("b", "a")})
    first.end()
    first.end()
    assert bench.network.is_cut("a", "b")
    second.end()
    assert bench.network.reaches("a", "b")
