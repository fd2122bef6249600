from pathlib import Path

import pytest

from engines_fixture import binary_of
from everfly.core.model import Address, Engine
from everfly.engines.command import EngineBinary
from everfly.errors import SettingsError
from everfly.local.reopen import ENDPOINT_PORT, Options, engine_for, settings_for
from everfly.local.settings import FILE, Settings
from everfly.observe.description import Description, Part

VALKEY = EngineBinary(Engine.VALKEY, Path("/bin/valkey-server"), "9.1.2")
DRAGONFLY = EngineBinary(Engine.DRAGONFLY, Path("/bin/dragonfly"), "1.40.1")
HOME = Path("/home/eve/store")


def described(settings: Settings) -> Description:
    return Description(
        group=settings.group,
        engine=settings.engine.engine,
        engine_binary=str(settings.engine.path),
        engine_version=settings.engine.version,
        instances=tuple(
            Part(name=f"instance-{n + 1}", address=Address("127.0.0.1", port))
            for n, port in enumerate(settings.ports)
        ),
        sentinels=tuple(
            Part(name=f"sentinel-{n + 1}", address=Address("127.0.0.1", port))
            for n, port in enumerate(settings.sentinel_ports)
        ),
        down_after_ms=settings.down_after_ms,
        failover_timeout_ms=settings.failover_timeout_ms,
        endpoint=Part(
            name="endpoint",
            address=Address("127.0.0.1", settings.endpoint_ports[0]),
            admin_port=settings.endpoint_ports[1],
        )
        if settings.endpoint_ports
        else None,
    )


def new(options: Options, engine: EngineBinary = VALKEY) -> Settings:
    return settings_for(options, engine, HOME, None)


def test_a_new_deployment_has_the_documented_topology() -> None:
    settings = new(Options())
    assert settings.ports == (6379, 6380, 6381)
    assert settings.sentinel_ports == (26379, 26380, 26381)
    assert settings.quorum == 2
    assert settings.group == "default-primary"
    assert settings.sentinel_command[-2:] == ("sentinel", FILE)


def test_dragonflies_have_admin_ports() -> None:
    assert new(Options(), DRAGONFLY).admin_ports == (7379, 7380, 7381)


def test_a_genuine_sentinel_can_be_asked_for() -> None:
    command = new(Options(sentinel_binary="/bin/x")).sentinel_command
    assert command == ("/bin/x", FILE, "--sentinel")


def test_an_earlier_deployment_comes_back_as_it_was() -> None:
    earlier = new(Options(port=7000, sentinel_port=8000, replicas=1, group="g", down_after_ms=5))
    assert settings_for(Options(), VALKEY, HOME, described(earlier)) == earlier


def test_it_may_get_more_replicas() -> None:
    earlier = new(Options(port=7000, replicas=1))
    settings = settings_for(Options(replicas=3), VALKEY, HOME, described(earlier))
    assert settings.ports == (7000, 7001, 7002, 7003)
    assert settings.sentinel_ports == earlier.sentinel_ports


def test_it_may_not_get_fewer_replicas() -> None:
    earlier = described(new(Options()))
    with pytest.raises(SettingsError, match=r"has 2 replicas; fewer cannot be had.*--dir"):
        settings_for(Options(replicas=1), VALKEY, HOME, earlier)


@pytest.mark.parametrize(
    ("options", "option"),
    [
        (Options(sentinels=5), "--sentinels 3"),
        (Options(port=7000), "--port 6379"),
        (Options(sentinel_port=7000), "--sentinel-port 26379"),
        (Options(group="other"), "--name default-primary"),
        (Options(down_after_ms=7), "--down-after 1000"),
        (Options(failover_timeout_ms=7), "--failover-timeout 10000"),
    ],
)
def test_what_its_sentinels_rely_on_may_not_change(options: Options, option: str) -> None:
    with pytest.raises(SettingsError, match=option):
        settings_for(options, VALKEY, HOME, described(new(Options())))


def test_another_engine_cannot_read_its_data() -> None:
    with pytest.raises(SettingsError, match="--engine valkey, not dragonfly"):
        settings_for(Options(), DRAGONFLY, HOME, described(new(Options())))


def test_without_a_wish_it_keeps_its_engine_and_its_program() -> None:
    double = binary_of("dragonfly")
    earlier = described(new(Options(), double))
    assert engine_for("auto", None, earlier) == double
    assert engine_for("dragonfly", None, earlier) == double
    assert engine_for("valkey", None, earlier).engine is Engine.VALKEY
    assert engine_for("auto", None, described(new(Options()))).engine is Engine.VALKEY


def test_the_same_values_may_be_said_again() -> None:
    earlier = described(new(Options()))
    same = Options(port=6379, sentinels=3, replicas=2, group="default-primary", down_after_ms=1000)
    assert settings_for(same, VALKEY, HOME, earlier) == new(Options())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (Options(replicas=-1), "-1 replicas"),
        (Options(replicas=99), "99 replicas"),
        (Options(sentinels=0), "0 Sentinels"),
        (Options(port=65535), "ports are 1 to 65535"),
        (Options(port=26379), "used twice"),
        (Options(group="a b"), "cannot be a name"),
        (Options(group="a\nport 1"), "cannot be a name"),
        (Options(password="a b"), "printable ASCII"),
        (Options(password="a\n--port=1"), "printable ASCII"),
        (Options(down_after_ms=0), "milliseconds"),
    ],
)
def test_what_cannot_work_is_refused_with_a_reason(options: Options, expected: str) -> None:
    with pytest.raises(SettingsError, match=expected):
        new(options)


def test_an_endpoint_has_the_usual_port_only_beside_usual_ports() -> None:
    usual = new(Options(has_endpoint=True))
    assert usual.endpoint_ports == (ENDPOINT_PORT, ENDPOINT_PORT + 1)
    assert new(Options(has_endpoint=True, endpoint_port=7_000)).endpoint_ports == (7_000, 7_001)
    other = new(Options(has_endpoint=True, port=16_379))
    assert ENDPOINT_PORT not in other.endpoint_ports
    assert len(set(other.endpoint_ports)) == 2
    assert new(Options()).endpoint_ports == ()


def test_an_endpoint_keeps_its_port() -> None:
    earlier = new(Options(has_endpoint=True, endpoint_port=7_000))
    again = Description.from_json(described(earlier).to_json())
    assert settings_for(Options(has_endpoint=True), VALKEY, HOME, again) == earlier
    assert settings_for(Options(), VALKEY, HOME, again).endpoint_ports == ()
