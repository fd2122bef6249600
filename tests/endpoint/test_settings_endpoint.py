"""An endpoint's settings: where they come from, what the data plane gets, what is refused."""

from pathlib import Path

import pytest

from everfly.core.model import Address
from everfly.endpoint.doc import settings_to_markdown
from everfly.endpoint.keys import KEYS, SETTINGS
from everfly.endpoint.settings import EndpointSettings, load_settings
from everfly.errors import SettingsError
from tls_files import Authority

ROOT = Path(__file__).parents[2]
LEAST = {"listen": "127.0.0.1:0", "sentinels": "10.0.0.1,10.0.0.2:26380,[::1]:26381"}


def load(tmp_path: Path, text: str, **flags: str) -> EndpointSettings:
    file = tmp_path / "endpoint.toml"
    file.write_text(text)
    return load_settings(str(file), LEAST | flags, {})


def test_addresses_alone_are_enough() -> None:
    settings = load_settings("", LEAST, {})
    usual = [Address("10.0.0.1", 26_379), Address("10.0.0.2", 26_380), Address("::1", 26_381)]
    assert list(settings.sentinels) == usual
    assert settings.group == "default-primary"
    config = settings.plane_config()
    assert config["listeners"] == [
        {"address": "127.0.0.1:0", "kind": "primary", "tls": False, "proxy_protocol_from": []}
    ]
    assert config["hold"] == {
        "window_ms": 10_000,
        "client_bytes": 1_048_576,
        "total_bytes": 268_435_456,
        "release_concurrency": 64,
    }
    assert (config["acks"], config["tls"], config["upstream_tls"]) == (None, None, None)
    assert "workers" not in config, "the data plane knows best"


def test_a_flag_wins_over_a_variable_and_that_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "endpoint.toml"
    file.write_text('name = "a"\nacks = 1\nwindow_ms = 1\n')
    variables = {"EVERFLY_ENDPOINT_SETTINGS": str(file), "EVERFLY_ENDPOINT_NAME": "b"}
    from_variables = load_settings("", LEAST | {"acks": "2"}, variables)
    assert (from_variables.group, from_variables.number("acks")) == ("b", 2)
    config = from_variables.plane_config()
    assert config["acks"] == {"replicas": 2, "timeout_ms": 1_000, "otherwise": "refuse"}
    assert isinstance(config["hold"], dict)
    assert config["hold"]["window_ms"] == 1


def test_every_listener_reaches_the_data_plane(tmp_path: Path) -> None:
    pair = Authority(tmp_path / "authority").issue("endpoint")
    settings = load(
        tmp_path,
        f"""
        tls_listen = ["0.0.0.0:6380"]
        replicas_listen = ["6381", "unix:/run/reads"]
        tls_replicas_listen = ["[::]:6382"]
        tls_cert_file = "{pair.cert}"
        tls_key_file = "{pair.key}"
        proxy_protocol_from = ["10.0.0.0/8", "::1"]
        """,
    )
    config = settings.plane_config()
    assert isinstance(config["listeners"], list)
    told = [(each["address"], each["kind"], each["tls"]) for each in config["listeners"]]
    assert told == [
        ("127.0.0.1:0", "primary", False),
        ("0.0.0.0:6380", "primary", True),
        ("127.0.0.1:6381", "replicas", False),
        ("unix:/run/reads", "replicas", False),
        ("[::]:6382", "replicas", True),
    ]
    assert config["listeners"][0]["proxy_protocol_from"] == ["10.0.0.0/8", "::1/128"]
    tls = config["tls"]
    assert isinstance(tls, dict)
    assert (tls["certificate"], tls["client_certificates"]) == (str(pair.cert), "none")


def test_secrets_come_from_files_and_show_nowhere(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("s3cret-of-instances\n")
    (tmp_path / "sentinel").write_text("s3cret-of-sentinels\n")
    (tmp_path / "token").write_text("s3cret-of-administrators\n")
    settings = load(
        tmp_path,
        """
        user = "endpoint"
        password_file = "password"
        sentinel_password_file = "sentinel"
        admin_token_file = "token"
        """,
    )
    assert settings.of_instances.password == "s3cret-of-instances"
    assert settings.of_sentinels.password == "s3cret-of-sentinels"
    assert settings.token == b"s3cret-of-administrators"
    upstream = settings.plane_config()["upstream"]
    assert isinstance(upstream, dict)
    assert (upstream["username"], upstream["password"]) == ("endpoint", "s3cret-of-instances")
    assert "s3cret" not in repr(settings)


def test_tls_towards_sentinels_and_instances_is_ready_to_use(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    pair = authority.issue("endpoint")
    settings = load(
        tmp_path,
        f"""
        sentinel_tls_ca_file = "{authority.ca}"
        upstream_tls_ca_file = "{authority.ca}"
        upstream_tls_cert_file = "{pair.cert}"
        upstream_tls_key_file = "{pair.key}"
        upstream_tls_name = "store"
        """,
    )
    assert settings.of_sentinels.tls is not None
    assert settings.of_instances.tls is not None
    assert settings.plane_config()["upstream_tls"] == {
        "name": "store",
        "ca": str(authority.ca),
        "certificate": str(pair.cert),
        "key": str(pair.key),
    }


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('listn = ["1"]', "unknown key `listn`: did you mean `listen`?"),
        ("acks = -1", "acks: -1 is out of range; allowed: a whole number of replicas, 0 to 64"),
        ("acks = true", "acks: True is no whole number"),
        ('on_ambiguous = "retry"', 'allowed: "error" or "close"'),
        ('replicas_listen = ["[::1"]', "is no address"),
        ('replicas_listen = "6379"', "no list of texts"),
        ('sentinels = ["10.0.0.1:0"]', "nowhere to connect to"),
        ('proxy_protocol_from = ["10.0.0.1/8"]', "neither an address nor a network"),
        ('admin = "0.0.0.0:1"', "can be reached from elsewhere: set admin_token_file"),
        ('tls_listen = ["1"]', "tls_listen needs tls_cert_file"),
        ('tls_cert_file = "x"', "tls_cert_file and tls_key_file go together"),
        ('user = "x"', "`user` needs `password_file`"),
        ('mode = "pushed"', "contradict each other"),
        ('password_file = "absent"', "password_file: {folder}/absent cannot be read: No such"),
        ('admin_token_file = "short"', "holds 5 bytes; at least 16 are needed"),
        ('sentinel_tls_ca_file = "short"', "sentinel_tls_ca_file: {folder}/short cannot be used"),
    ],
)
def test_what_cannot_be_is_refused_with_its_name(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "short").write_text("short\n")
    flags = {} if text.startswith("sentinels") else LEAST
    file = tmp_path / "endpoint.toml"
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_settings(str(file), flags, {})
    assert why.format(folder=tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        ({}, "nowhere to listen"),
        ({"listen": "1"}, "nobody to ask for the primary"),
        ({"listen": "1", "mode": "pushed"}, "mode `pushed` needs `admin`"),
    ],
)
def test_what_is_missing_is_said(flags: dict[str, str], why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        load_settings("", flags, {})


def test_variables_that_kubernetes_adds_are_left_alone() -> None:
    others = {"EVERFLY_ENDPOINT_PORT": "tcp://10.0.0.1:1", "EVERFLY_ENDPOINT_SERVICE_HOST": "x"}
    assert load_settings("", LEAST, others).group == "default-primary"


def test_each_name_is_there_once_and_each_default_is_allowed() -> None:
    assert len({key.name for key in KEYS}) == len(KEYS)
    places = [each.plane for each in SETTINGS if each.plane]
    assert len(set(places)) == len(places)
    for key in KEYS:
        if key.default not in ("", (), None) and not isinstance(key.default, tuple):
            assert key.form.from_toml(key.default) == key.default, key.name


def test_the_page_of_settings_is_what_the_table_says() -> None:
    assert (ROOT / "docs/endpoint-settings.md").read_text() == settings_to_markdown()
