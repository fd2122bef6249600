import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from everfly.core.model import Address, Engine, HandOver, Millis, Role
from everfly.engines import dialect

PRIMARY = "72d411e4938eeddc07a7d271d769d277d217d812"
PROMOTED = "e705f9678bf8cae9efb14130629157cbb00a4f43"


def fields(text: str) -> dict[str, str]:
    return dict(line.split(":", 1) for line in text.split())


DRAGONFLY_SERVER = """redis_version:7.4.0 dragonfly_version:df-v1.40.1 process_id:10319
    tcp_port:27379 uptime_in_seconds:2"""
DRAGONFLY_REPLICA = f"""{DRAGONFLY_SERVER} role:slave master_host:127.0.0.1 master_port:27379
    master_link_status:up master_last_io_seconds_ago:1 master_sync_in_progress:0
    master_replid:{PRIMARY} slave_repl_offset:2 slave_priority:20 slave_read_only:1"""
REDIS_REPLICA = """redis_version:7.0.15 run_id:e3 uptime_in_seconds:9 role:slave
    master_host:10.0.0.1 master_port:6379 master_link_status:down master_last_io_seconds_ago:-1
    master_sync_in_progress:0 slave_repl_offset:1400 master_link_down_since_seconds:7
    slave_priority:100 replica_announced:0
    master_replid:72d411e4938eeddc07a7d271d769d277d217d812
    master_replid2:0000000000000000000000000000000000000000 master_repl_offset:1300"""


def test_a_redis_replica_is_translated() -> None:
    report = dialect.report(fields(REDIS_REPLICA))
    assert report.role is Role.REPLICA
    assert report.engine is Engine.REDIS
    assert report.run_id == "e3"
    assert report.primary == Address("10.0.0.1", 6379)
    assert not report.primary_link_up
    assert report.primary_link_down_for == Millis(7_000)
    assert report.offset == 1400
    assert report.history == PRIMARY
    assert report.history_before == ""
    assert not report.is_announced
    assert report.uptime_s == 9


def test_a_replica_that_never_had_its_primary_does_not_say_for_how_long() -> None:
    told = fields(REDIS_REPLICA) | {"master_link_down_since_seconds": "-1"}
    assert dialect.report(told).primary_link_down_for is None


def test_a_primary_names_its_replicas_in_both_forms() -> None:
    told = fields(
        "redis_version:7.0.15 role:master connected_slaves:2 master_repl_offset:77 "
        "slave0:ip=10.0.0.2,port=6379,state=online,offset=70,lag=0 slave1:10.0.0.3,6380,online "
        "slave2:ip=10.0.0.4,port=0,state=wait_bgsave"
    )
    report = dialect.report(told)
    assert report.replicas == (Address("10.0.0.2", 6379), Address("10.0.0.3", 6380))
    assert report.offset == 77
    assert report.primary is None


@pytest.mark.parametrize(
    ("text", "engine", "version"),
    [
        (DRAGONFLY_SERVER, Engine.DRAGONFLY, "1.40.1"),
        ("redis_version:7.2.4 server_name:valkey valkey_version:9.1.2", Engine.VALKEY, "9.1.2"),
        ("redis_version:7.0.15", Engine.REDIS, "7.0.15"),
        ("role:master", Engine.UNKNOWN, ""),
    ],
)
def test_each_engine_is_recognised_though_all_claim_to_be_redis(
    text: str, engine: Engine, version: str
) -> None:
    assert dialect.engine_of(fields(text)) is engine
    assert dialect.report(fields(text)).engine is engine
    assert dialect.version_of(fields(text)) == version


def test_a_dragonfly_replica_says_how_long_its_link_is_down_by_its_last_contact() -> None:
    up = dialect.report(fields(DRAGONFLY_REPLICA))
    assert up.primary_link_up
    assert up.primary_link_down_for is None
    assert (up.offset, up.priority, up.history) == (2, 20, PRIMARY)
    down = fields(DRAGONFLY_REPLICA) | {
        "master_link_status": "down",
        "master_last_io_seconds_ago": "5",
    }
    assert dialect.report(down).primary_link_down_for == Millis(5_000)
    assert not dialect.report(down).primary_link_up


def test_a_dragonfly_in_full_sync_has_no_offset() -> None:
    syncing = fields(DRAGONFLY_REPLICA) | {"master_sync_in_progress": "1"}
    del syncing["slave_repl_offset"]
    report = dialect.report(syncing)
    assert report.is_syncing
    assert report.offset is None


def test_the_identity_of_a_dragonfly_survives_its_promotion_and_not_its_restart() -> None:
    replica = fields(DRAGONFLY_REPLICA)
    promoted = fields(DRAGONFLY_SERVER) | {"role": "master", "master_replid": PROMOTED}
    restarted = promoted | {"process_id": "10320"}
    assert len(dialect.report(replica).run_id) == 40
    assert dialect.report(replica).run_id == dialect.report(promoted).run_id
    assert dialect.report(promoted).run_id != dialect.report(restarted).run_id


def test_a_dragonfly_restarted_in_a_container_shows_by_its_uptime() -> None:
    before = dialect.report(fields(DRAGONFLY_REPLICA) | {"process_id": "1"})
    again = {"process_id": "1", "uptime_in_seconds": "0"}
    after = dialect.report(fields(DRAGONFLY_REPLICA) | again)
    assert before.run_id == after.run_id
    assert (before.uptime_s, after.uptime_s) == (2, 0)


@pytest.mark.parametrize("engine", [{"dragonfly_version": "df-v1.40.0"}, {"redis_version": "7"}])
def test_keys_of_all_databases_are_counted_where_any_is_named(engine: dict[str, str]) -> None:
    told = {"db0": "keys=70,expires=3,avg_ttl=-1", "db12": "keys=5,expires=0", "dbfilename": "dump"}
    assert dialect.report(engine | told).keys == 75
    assert dialect.report(engine | {"db0": "hits=4"}).keys == 0
    assert dialect.report(engine).keys is None


def test_bytes_that_are_no_text_make_an_identity_like_any_other() -> None:
    told = fields(DRAGONFLY_SERVER) | {"process_id": "\udcff"}
    assert len(dialect.report(told).run_id) == 40


def test_a_report_without_a_role_has_none() -> None:
    assert dialect.report({"role": "sentinel"}).role is None
    assert dialect.report({}).role is None


KEYS = st.sampled_from(
    [*fields(DRAGONFLY_REPLICA), *fields(REDIS_REPLICA), "slave0", "slave1", "db0"]
)
VALUES = st.one_of(
    st.text(st.characters()),
    st.text(),
    st.sampled_from(["master", "slave", "down", "1" * 5000, "-", "٣"]),
)


# The machine may be busy with other tests: slowness is no finding.
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(KEYS, VALUES))
def test_nothing_that_an_instance_sends_raises(told: dict[str, str]) -> None:
    report = dialect.report(told)
    assert report.priority == 100 or "slave_priority" in told


def test_promotion_is_one_transaction_that_genuine_sentinels_send_too() -> None:
    for engine in (Engine.REDIS, Engine.VALKEY, Engine.UNKNOWN):
        assert dialect.promote_commands(engine) == (
            ("MULTI",),
            ("SLAVEOF", "NO", "ONE"),
            ("CONFIG", "REWRITE"),
            ("CLIENT", "KILL", "TYPE", "normal"),
            ("CLIENT", "KILL", "TYPE", "pubsub"),
            ("EXEC",),
        )
        assert dialect.follow_commands(engine, "h", 1)[1] == ("SLAVEOF", "h", "1")


def test_dragonfly_is_sent_only_what_it_understands() -> None:
    assert dialect.follow_commands(Engine.DRAGONFLY, "h", 1) == (
        ("MULTI",),
        ("SLAVEOF", "h", "1"),
        ("EXEC",),
    )
    assert dialect.promote_commands(Engine.DRAGONFLY)[1] == ("SLAVEOF", "NO", "ONE")
    assert dialect.end_grace_commands(Engine.DRAGONFLY) == ()


@pytest.mark.parametrize(
    ("text", "hands_over"),
    [
        (DRAGONFLY_SERVER, HandOver.BY_TAKEOVER),
        ("redis_version:7.2.4 server_name:valkey valkey_version:9.1.2", HandOver.BY_PAUSE),
        ("redis_version:7.0.15", HandOver.BY_PAUSE),
        ("redis_version:6.2.0", HandOver.BY_PAUSE),
        ("redis_version:10.0.0", HandOver.BY_PAUSE),
        ("redis_version:6.0.16", HandOver.NONE),
        ("redis_version:5.0.14", HandOver.NONE),
        ("redis_version:unstable", HandOver.NONE),
        ("role:master", HandOver.NONE),
    ],
)
@pytest.mark.parametrize("role", ["master", "slave"])
def test_each_engine_hands_over_in_its_way_in_either_role(
    text: str, hands_over: HandOver, role: str
) -> None:
    assert dialect.report(fields(text) | {"role": role}).hands_over is hands_over


def test_a_pause_is_of_writes_only_and_limited() -> None:
    assert dialect.pause_command(Millis(6_000)) == ("CLIENT", "PAUSE", "6000", "WRITE")
    assert dialect.resume_command() == ("CLIENT", "UNPAUSE")


@pytest.mark.parametrize(
    ("limit_ms", "seconds"), [(1, "1"), (999, "1"), (1_999, "1"), (5_000, "5")]
)
def test_a_takeover_is_limited_to_whole_seconds_that_fit_but_never_to_none(
    limit_ms: int, seconds: str
) -> None:
    assert dialect.take_over_command(Millis(limit_ms)) == ("REPLTAKEOVER", seconds)
