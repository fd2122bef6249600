"""Everfly's own settings: where they come from, and what is said of wrong ones."""

from pathlib import Path

import pytest

from everfly.core.policy import Policy
from everfly.errors import SettingsError
from everfly.runtime.setting_forms import HostPort
from everfly.sentinel.command_line import split_options
from everfly.sentinel.everfly_toml import DEFAULT_EVENTS, KEYS, EverflySettings, load_settings


def load(tmp_path: Path, text: str) -> EverflySettings:
    file = tmp_path / "everfly.toml"
    file.write_text(text)
    return load_settings(str(file), {}, {})


def test_nothing_set_is_a_drop_in() -> None:
    assert load_settings("", {}, {}) == EverflySettings()
    assert EverflySettings().metrics is None
    assert EverflySettings().policy == Policy()


def test_a_flag_wins_over_a_variable_and_that_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "everfly.toml"
    file.write_text('metrics = "127.0.0.1:1"\nlog_format = "json"\n')
    variables = {"EVERFLY_METRICS": "127.0.0.1:2", "EVERFLY_SETTINGS": str(file)}
    flags = {"metrics": "127.0.0.1:3"}
    assert load_settings(str(file), {}, {}).metrics == HostPort("127.0.0.1", 1)
    from_variables = load_settings("", {}, variables)
    assert from_variables.metrics == HostPort("127.0.0.1", 2)
    assert from_variables.log_format == "json"
    assert load_settings("", flags, variables).metrics == HostPort("127.0.0.1", 3)


def test_variables_of_others_are_left_alone() -> None:
    others = {"EVERFLY_PORT": "tcp://10.0.0.1:26379", "EVERFLY_SERVICE_HOST": "10.0.0.1"}
    assert load_settings("", {}, others) == EverflySettings()


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("9121", "127.0.0.1", 9121),
        (":9121", "127.0.0.1", 9121),
        ("[::1]:9121", "::1", 9121),
        ("0.0.0.0:0", "0.0.0.0", 0),
        ("name:80", "name", 80),
    ],
)
def test_a_port_alone_is_for_this_machine(text: str, host: str, port: int) -> None:
    assert load_settings("", {"metrics": text}, {}).metrics == HostPort(host, port)


def test_settings_of_the_core_reach_its_policy(tmp_path: Path) -> None:
    policy = load(tmp_path, "fast_down = true\nhands_over = false\nforget_after_s = 1.5\n").policy
    assert (policy.fast_down, policy.hands_over, policy.forget_after) == (True, False, 1500)
    policy = load_settings("", {"fast_down": "yes", "forget_after_s": "60"}, {}).policy
    assert (policy.fast_down, policy.forget_after) == (True, 60_000)


def test_a_recording_goes_where_it_was_asked_for_whatever_folder_is_entered_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings("", {"record": "rec", "record_limit_mb": "64"}, {})
    assert settings.record == tmp_path / "rec"
    assert settings.record_limit_mb == 64
    assert load_settings("", {}, {}).record is None


def test_defaults_of_the_table_are_those_of_the_core() -> None:
    for key in KEYS:
        if key.policy_field:
            scale = 1000 if key.name.endswith("_s") else 1
            default = getattr(Policy(), key.policy_field)
            assert isinstance(key.default, bool | int)
            assert default == key.default * scale, key.name


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('metrcs = "x:1"', "unknown key `metrcs`: did you mean `metrics`.*Known keys: metrics,"),
        ("metrics = 9121", "metrics: 9121 is no text in quotes; allowed: .*HOST:PORT"),
        ('metrics = "host"', "metrics: 'host' has no port"),
        ('metrics = "host:65536"', "no port"),
        ('metrics = "::1:80"', "brackets"),
        ('log_format = "xml"', 'log_format: \'xml\' .*allowed: "redis" or "json"'),
        ("fast_down = 1", "fast_down: 1 is neither"),
        ("forget_after_s = -1", "forget_after_s: -1 is out of range; allowed: .*0 to"),
        ("forget_after_s = true", "True is no number"),
        ("forget_after_s = nan", "out of range"),
        ('record = ""', "record: it is empty"),
        ("record_limit_mb = 1", "record_limit_mb: 1 is out of range; allowed: .* of megabytes, 2"),
        ('record_limit_mb = "9"', "'9' is no whole number"),
        ('webhooks = "x"', r"webhooks: must be written as tables, `\[\[webhooks\]\]`"),
        ("[[webhooks]]", r"webhooks\[1\]: `url` is missing"),
        ('[[webhooks]]\nurl = "x"\nurls = "y"', r"webhooks\[1\]: unknown key `urls`"),
        ('[[webhooks]]\nurl = "gopher://x"', r"webhooks\[1\].url: must begin"),
        ('[[webhooks]]\nurl = "http://x"\nkind = "mail"', r"\[1\].kind: 'mail'"),
        ('[[webhooks]]\nurl = "http://x"\nevents = []', r"\[1\].events: "),
        ('[[webhooks]]\nurl = "http://x"\nevents = [1]', r"\[1\].events: 1 is no pattern"),
        ('[[webhooks]]\nurl = "http://x"\ntimeout_s = 0', r"timeout_s: 0 is out of range"),
        ('[[webhooks]]\nurl = "http://x"\nsecret_file = "none"', "cannot be read: No such file"),
        (
            '[[webhooks]]\nurl = "http://x/1"\n[[webhooks]]\nurl = "http://x/2"',
            "two are called `x`",
        ),
        ('[[webhooks]]\nurl = "http://x"\n' * 17, "17 of them; allowed: 16"),
        ("metrics = ", "is no TOML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said) as caught:
        load(tmp_path, text)
    assert str(tmp_path / "everfly.toml") in str(caught.value) or "none" in text


def test_wrong_flags_and_variables_are_named() -> None:
    with pytest.raises(SettingsError, match="--log-format: 'x'"):
        load_settings("", {"log_format": "x"}, {})
    with pytest.raises(SettingsError, match="variable EVERFLY_FAST_DOWN: 'maybe'"):
        load_settings("", {}, {"EVERFLY_FAST_DOWN": "maybe"})
    with pytest.raises(SettingsError, match=r"settings file .*/none cannot be read"):
        load_settings("/none", {}, {})


def test_a_webhook_has_its_secret_from_a_file_and_never_shows_it(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("  0123456789abcdef\n")
    text = '[[webhooks]]\nurl = "https://h.example/T0/token"\nsecret_file = "key"\n'
    (hook,) = load(tmp_path, text).webhooks
    assert hook.secret == b"0123456789abcdef"
    assert (hook.name, hook.kind, hook.events) == ("h.example", "json", DEFAULT_EVENTS)
    assert "0123456789abcdef" not in repr(hook)
    assert "token" not in repr(hook)
    (tmp_path / "key").write_text("short")
    with pytest.raises(SettingsError, match="5 bytes; allowed: 16 to") as caught:
        load(tmp_path, text)
    assert "short" not in str(caught.value)


def test_own_flags_may_stand_behind_the_file() -> None:
    options = ["--port", "5000", "--metrics", "9121", "--log-format=json", "--sentinel", "x", "y"]
    rest, told = split_options(options)
    assert rest == ["--port", "5000", "--sentinel", "x", "y"]
    assert told == {"metrics": "9121", "log_format": "json"}
    with pytest.raises(SettingsError, match="--metrics needs a value"):
        split_options(["--metrics"])
