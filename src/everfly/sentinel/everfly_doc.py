"""Turn the tables of settings and of metrics into the pages that document them."""

import json
from typing import Final

from everfly.runtime.setting_table import Key
from everfly.sentinel.everfly_toml import KEYS, WEBHOOK_KEYS
from everfly.sentinel.metric_families import FAMILIES

_HEAD: Final = """\
# Settings of Everfly's own

What Redis Sentinel knows stands in `sentinel.conf`, and nothing else does: a genuine Sentinel can
take that file back at any time. What only Everfly knows stands in a file of its own, in variables
or in flags. A flag wins over a variable, a variable over the file.

```
everfly sentinel --settings everfly.toml --metrics 127.0.0.1:9121 sentinel.conf
EVERFLY_SETTINGS=everfly.toml EVERFLY_METRICS=127.0.0.1:9121 everfly sentinel sentinel.conf
```

```toml
metrics = "127.0.0.1:9121"
log_format = "json"

[[webhooks]]
url = "https://hooks.slack.com/services/..."
kind = "slack"

[[webhooks]]
name = "pager"
url = "https://pager.example.com/everfly"
secret_file = "pager.secret"
events = ["+odown", "+switch-master", "-failover-abort-*"]
```

An unknown key, a wrong type or a value out of range is refused at the start, with the name of the
file, the key and what is allowed. This page is generated from the table in
`src/everfly/sentinel/everfly_toml.py`.

The endpoint has [settings of its own](endpoint-settings.md).

## At the top of the file

| key | flag, variable | default | allowed | what it does, and why |
| --- | --- | --- | --- | --- |
"""

_WEBHOOKS_HEAD: Final = """
## `[[webhooks]]`

Only in the file, once for each webhook. A message is tried six times within half a minute while the
other side may yet take it (no answer, 408, 425, 429, 5xx); redirects are not followed; up to 256
messages wait, then the oldest goes (`everfly_sentinel_webhook_messages_total{outcome="dropped"}`).
No decision ever waits for a webhook.

Certificates are checked against those that the system trusts, or those in the file that the
variable `SSL_CERT_FILE` names. Proxies are not used.

| key | default | allowed | what it does, and why |
| --- | --- | --- | --- |
"""

_TAIL: Final = """
A message of kind `json`:

```json
{
  "event": "+switch-master",
  "payload": "cache 10.0.0.1 6379 10.0.0.2 6379",
  "group": "cache",
  "severity": "warning",
  "time": "2026-01-31T12:00:00.123+00:00",
  "sentinel_id": "40 hexadecimal digits",
  "why": {
    "decision": "choice of a new primary, epoch 7",
    "facts": ["10.0.0.2:6379 chosen: priority 100, offset 4711", "10.0.0.3:6379 rejected: ..."]
  }
}
```

`severity` is `info`, `warning` or `critical`; `why` is null where the event needs no reason. Each
Sentinel of a quorum tells what it sees itself, so an event may arrive once from each.

`X-Everfly-Delivery` is the same for all tries of one message. With a secret,
`X-Everfly-Timestamp` holds seconds since 1970 and `X-Everfly-Signature` holds `v1=` and the
hexadecimal HMAC-SHA256 of `TIMESTAMP.BODY` under the secret:

```python
expected = hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
ok = hmac.compare_digest(f"v1={expected}", signature) and abs(time.time() - int(timestamp)) < 300
```
"""


def to_markdown() -> str:
    """Return the page."""
    rows = [
        f"| `{key.name}` | `{key.flag}`, `{key.variable}` | {_default(key)} "
        f"| {_cell(key.form.allowed)} | {_cell(key.why)} |\n"
        for key in KEYS
    ]
    webhook_rows = [
        f"| `{key.name}` | {_default(key)} | {_cell(key.form.allowed)} | {_cell(key.why)} |\n"
        for key in WEBHOOK_KEYS
    ]
    return "".join([_HEAD, *rows, _WEBHOOKS_HEAD, *webhook_rows, _TAIL])


_METRICS_HEAD: Final = """\
# What a Sentinel shows

With `metrics` set (see [settings](settings.md)) a Sentinel answers over HTTP, read-only and without
secrets:

| path | what it is |
| --- | --- |
| `/` | a page: the topology as this Sentinel sees it, what happened, and why |
| `/metrics` | the metrics below, for Prometheus |
| `/healthz` | 200 while the process decides: for a liveness probe |
| `/readyz` | 200 while each group's primary is in contact, else 503 and which are not |
| `/api/groups` | a line about each group, and about this Sentinel |
| `/api/groups/NAME` | all that is known of one group |
| `/api/history` | notices, decisions and their facts; `?group=NAME&after=NUMBER&limit=N` |

Use `/healthz` for restarts and never `/readyz`: a primary that is down is no reason to restart the
Sentinel that is about to replace it.

`deploy/prometheus` holds alerts, `deploy/grafana` a dashboard. Offsets and lags are in the unit of
the engine: bytes for Valkey and Redis, journal entries for Dragonfly.

| metric | kind | labels | what it is |
| --- | --- | --- | --- |
"""


def metrics_to_markdown() -> str:
    """Return the page about metrics."""
    rows = [
        f"| `{family.name}` | {family.kind.value} | {', '.join(family.labels)} "
        f"| {_cell(family.help)} |\n"
        for family in FAMILIES
    ]
    return "".join([_METRICS_HEAD, *rows])


def _default(key: Key) -> str:
    if key.default is None:
        return "must be given"
    if key.default == "":
        return "none"
    default = list(key.default) if isinstance(key.default, tuple) else key.default
    return f"`{_cell(json.dumps(default))}`"


def _cell(text: str) -> str:
    return text.replace("|", r"\|")
