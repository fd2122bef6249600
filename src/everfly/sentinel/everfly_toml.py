"""Turn `everfly.toml`, the environment and flags into what people set that Redis has no words for.

Rules: none of it stands in `sentinel.conf`, so that a genuine Sentinel can take that file back at
any time; a flag wins over the environment, which wins over the file; one table (`KEYS`,
`WEBHOOK_KEYS`) says what there is, and help and documentation come from it; whatever is wrong is a
SettingsError that names where, which key and what is allowed, and never shows a secret.

Unknown keys in the file are errors. Unknown variables are none: other programs of Everfly have
theirs, and Kubernetes adds `EVERFLY_PORT` where a Service is called so.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Final

from everfly.core.model import Millis
from everfly.core.policy import Policy
from everfly.errors import SettingsError
from everfly.runtime.setting_forms import (
    Flag,
    Globs,
    HostPort,
    ListenAddress,
    Seconds,
    Text,
    Value,
    Whole,
    Word,
)
from everfly.runtime.setting_table import Key, Told, checked, read_toml, refuse_unknown
from everfly.sentinel.compat import Compat

SECRET_BYTES_MAX: Final = 4_096
"""A key of 32 bytes is as good as any longer one; more is the wrong file."""
SECRET_BYTES_MIN: Final = 16
"""A shorter one can be guessed from one signed message."""
WEBHOOKS_MAX: Final = 16
LIMIT_MB: Final = 256
"""Of recordings: half a day at the least of an impatient group, days of others."""

LOG_FORMATS: Final = ("redis", "json")

DEFAULT_EVENTS: Final = (
    "+switch-master",
    "?sdown",
    "?odown",
    "+try-failover",
    "-failover-abort-*",
    "?tilt",
)
"""What somebody should know of who is not looking: about ten messages a failover."""


_FIXED_KEYS: Final = (
    Key(
        "metrics",
        ListenAddress(),
        "",
        "Where to serve metrics, health, the JSON API and the page over HTTP. Whoever reaches it "
        "can read all but secrets, so a port alone means the loopback address. Off by default: a "
        "drop-in opens no port that nobody asked for.",
    ),
    Key(
        "log_format",
        Word(LOG_FORMATS),
        "redis",
        "`redis`: lines as Redis writes them, which existing log rules match. `json`: one object a "
        "line (ts, level, msg, and for notices event, group, payload).",
    ),
    Key(
        "compat",
        Word(tuple(program.value for program in Compat)),
        Compat.REDIS_7_0.value,
        "Whose answers clients get: texts, the commands there are, INFO, HELLO. What Sentinels say "
        "to each other is the same in all. The default is what most clients and scripts know.",
    ),
    Key(
        "record",
        Text(),
        "",
        "A file for all that the deciding core is fed, a line each, for `everfly sim --replay`: it "
        "shows afterwards what was decided and why. A full file, and that of an earlier run, goes "
        "on beside it as FILE.1. Written ten times a second and with every event, not flushed to "
        "the disk, so it survives a crash of the process. For its owner alone (0600), without "
        "passwords. Off by default: who debugs nothing needs no such file.",
    ),
    Key(
        "record_limit_mb",
        Whole(2, 1_048_576, "megabytes"),
        LIMIT_MB,
        "How large `record` and its FILE.1 may become together. Three instances and three "
        "Sentinels fill about 5 MB an hour with down-after 30 s, 20 MB with 1 s.",
    ),
)

_POLICY_KEYS: Final = (
    Key(
        "fast_down",
        Flag(),
        False,
        "Take a primary whose host resets our connection and refuses the next one as down at "
        "once: its process is gone, it is not the network. The quorum is asked as ever. Off by "
        "default: a supervisor that restarts a crashed primary within down-after would come too "
        "late.",
        policy_field="fast_down",
    ),
    Key(
        "hands_over",
        Flag(),
        True,
        "Let the engine hand over without loss when people ask for a failover while the primary "
        "is well. Genuine Sentinels promote a replica beside the living primary, and what clients "
        "write to that one until it is demoted is lost.",
        policy_field="hands_over",
    ),
    Key(
        "forget_after_s",
        Seconds(0, 10 * 365 * 86_400),
        0,
        "Forget Sentinels, and replicas that a healthy primary does not name, which have been down "
        "for so long. 0: never, as genuine Sentinels, in whose majorities ghosts count until "
        "SENTINEL RESET.",
        policy_field="forget_after",
    ),
)

KEYS: Final = (
    *_FIXED_KEYS,
    *(key for key in _POLICY_KEYS if key.policy_field in {one.name for one in fields(Policy)}),
)
"""All that may stand at the top of the file, beside `webhooks`."""

WEBHOOK_KEYS: Final = (
    Key("url", Text(), None, "Where to POST, `https://...` or `http://...`. It is never shown."),
    Key(
        "name",
        Text(),
        "",
        "What logs and metrics call this webhook. Default: the host of its address.",
    ),
    Key(
        "kind",
        Word(("json", "slack")),
        "json",
        '`json`: an object with all facts. `slack`: `{"text": ...}`, which Slack, Mattermost, '
        "Rocket.Chat and others show as a message.",
    ),
    Key(
        "secret_file",
        Text(),
        "",
        "A file with the secret that signs messages (HMAC-SHA256), relative to this file; at least "
        f"{SECRET_BYTES_MIN} bytes, white space at its ends does not count. Default: unsigned.",
    ),
    Key(
        "events",
        Globs(),
        DEFAULT_EVENTS,
        "Which events to send, by patterns (`*`, `?`, `[...]`). The default is what somebody "
        "should know of who is not looking.",
    ),
    Key(
        "timeout_s",
        Seconds(0.1, 60),
        5.0,
        "How long one try may take. Receivers answer within a second; what fails is tried six "
        "times within half a minute.",
    ),
)
"""All that may stand in one `[[webhooks]]`."""


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """One `[[webhooks]]`."""

    name: str
    url: str = field(repr=False)
    kind: str
    """`json` or `slack`."""
    secret: bytes = field(repr=False)
    """Empty: unsigned."""
    events: tuple[str, ...]
    """Patterns."""
    timeout_s: float


@dataclass(frozen=True, slots=True)
class EverflySettings:
    """What was set, with all defaults."""

    metrics: HostPort | None = None
    """Where to serve HTTP; None: nowhere."""
    log_format: str = "redis"
    compat: Compat = Compat.REDIS_7_0
    webhooks: tuple[WebhookSettings, ...] = ()
    record: Path | None = None
    """Where to record what the core is fed, absolute; None: nowhere."""
    record_limit_mb: int = LIMIT_MB
    policy: Policy = field(default_factory=Policy)


def load_settings(
    path: str, flags: Mapping[str, str], environment: Mapping[str, str]
) -> EverflySettings:
    """Return what a file (empty: none), flags (by key, without dashes) and variables say.

    Raises SettingsError.
    """
    path = path or environment.get("EVERFLY_SETTINGS", "")
    told = read_toml(Path(path)) if path else {}
    tables = told.pop("webhooks", [])
    refuse_unknown(told, (*(key.name for key in KEYS), "webhooks"), path)
    sources = Told(path, told, flags, environment)
    values: dict[str, Value] = {}
    policy = Policy()
    for key in KEYS:
        values[key.name] = value = sources.value_of(key)
        if key.policy_field:
            setattr(policy, key.policy_field, _for_policy(key, value))
    metrics, limit_mb = values["metrics"], values["record_limit_mb"]
    assert isinstance(limit_mb, int)
    # Absolute now: a Sentinel enters the folder of its `dir` later.
    record = Path(str(values["record"])).absolute() if values["record"] else None
    return EverflySettings(
        metrics=metrics if isinstance(metrics, HostPort) else None,
        log_format=str(values["log_format"]),
        compat=Compat(values["compat"]),
        webhooks=_webhooks(tables, path),
        record=record,
        record_limit_mb=limit_mb,
        policy=policy,
    )


def _for_policy(key: Key, value: Value) -> Value:
    if isinstance(key.form, Seconds) and isinstance(value, int | float):
        return Millis(round(value * 1000))
    return value


def _webhooks(tables: object, path: str) -> tuple[WebhookSettings, ...]:
    if not isinstance(tables, list) or not all(isinstance(one, dict) for one in tables):
        raise SettingsError(f"{path}: webhooks: must be written as tables, `[[webhooks]]`")
    if len(tables) > WEBHOOKS_MAX:
        raise SettingsError(f"{path}: webhooks: {len(tables)} of them; allowed: {WEBHOOKS_MAX}")
    found = tuple(_webhook(table, path, at) for at, table in enumerate(tables, 1))
    names = [one.name for one in found]
    for name in names:
        if names.count(name) > 1:
            raise SettingsError(f"{path}: webhooks: two are called `{name}`: give each a `name`")
    return found


def _webhook(table: Mapping[str, object], path: str, number: int) -> WebhookSettings:
    where = f"{path}: webhooks[{number}]"
    refuse_unknown(table, tuple(key.name for key in WEBHOOK_KEYS), where)
    values: dict[str, Value] = {}
    for key in WEBHOOK_KEYS:
        values[key.name] = _in_table(key, table, where)
    # Not at the top: it needs the event loop, and most Sentinels have no webhook.
    from everfly.runtime.http_post import parse_target  # noqa: PLC0415

    url = str(values["url"])
    try:
        target = parse_target(url)
    except SettingsError as error:
        raise SettingsError(f"{where}.url: {error}") from error
    file = str(values["secret_file"])
    events, timeout_s = values["events"], values["timeout_s"]
    assert isinstance(events, tuple)
    assert isinstance(timeout_s, int | float)
    return WebhookSettings(
        name=str(values["name"]) or target.host,
        url=url,
        kind=str(values["kind"]),
        secret=_secret(Path(path).parent / file, f"{where}.secret_file") if file else b"",
        events=tuple(map(str, events)),
        timeout_s=float(timeout_s),
    )


def _in_table(key: Key, table: Mapping[str, object], where: str) -> Value:
    if key.name in table:
        return checked(key, lambda: key.form.from_toml(table[key.name]), f"{where}.{key.name}")
    if key.default is None:
        raise SettingsError(f"{where}: `{key.name}` is missing; allowed: {key.form.allowed}")
    return key.default


def _secret(path: Path, where: str) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(SECRET_BYTES_MAX + 1)
    except OSError as error:
        raise SettingsError(f"{where}: {path} cannot be read: {error.strerror}") from error
    secret = data.strip()
    if not SECRET_BYTES_MIN <= len(secret) <= SECRET_BYTES_MAX:
        raise SettingsError(
            f"{where}: {path} holds {len(secret)} bytes; allowed: {SECRET_BYTES_MIN} to "
            f"{SECRET_BYTES_MAX}; make one with `openssl rand -hex 32`"
        )
    return secret
