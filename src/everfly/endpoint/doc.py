"""Turn the tables of settings and of metrics into the pages that document them."""

import json
from typing import Final

from everfly.endpoint.key_sections import Setting
from everfly.endpoint.keys import SECTIONS
from everfly.endpoint.metric_families import FAMILIES

_HEAD: Final = """\
# Settings of the endpoint

They stand in a file (TOML), in variables or in flags. A flag wins over a variable, a variable over
the file. Lists are lists in the file, and texts with commas elsewhere.

```
everfly endpoint --settings endpoint.toml --listen 6379
EVERFLY_ENDPOINT_SETTINGS=endpoint.toml EVERFLY_ENDPOINT_LISTEN=6379 everfly endpoint
```

```toml
listen = ["0.0.0.0:6379"]
sentinels = ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
name = "cache"
password_file = "instances.password"
admin = "127.0.0.1:9131"
```

Secrets stand in files of their own, never in flags. An unknown key, a wrong type or a value out of
range is refused at the start, with the name of the file, the key and what is allowed. What is
marked "live" is taken over by a reload (SIGHUP, `POST /reload`), as are certificates and secrets;
the rest by a restart, which no client notices where `restart_socket` is set (see
[endpoint](endpoint.md)). This page is generated from the table in `src/everfly/endpoint/keys.py`.
"""

_COLUMNS: Final = """
| key | flag, variable | default | allowed | what it does, and why |
| --- | --- | --- | --- | --- |
"""

_METRICS_HEAD: Final = """\
# Metrics of the endpoint

At `/metrics` of the admin address (see [endpoint](endpoint.md)). `deploy/prometheus`
holds alerts, `deploy/grafana` a dashboard. This page is generated from the table in
`src/everfly/endpoint/metric_families.py`.

| metric | kind | labels | what it is |
| --- | --- | --- | --- |
"""


def settings_to_markdown() -> str:
    """Return the page about settings."""
    parts = [_HEAD]
    for title, settings in SECTIONS:
        parts += [f"\n## {title}\n", _COLUMNS, *map(_row, settings)]
    return "".join(parts)


def metrics_to_markdown() -> str:
    """Return the page about metrics."""
    rows = [
        f"| `{family.name}` | {family.kind.value} | {', '.join(family.labels)} "
        f"| {_cell(family.help)} |\n"
        for family in FAMILIES
    ]
    return "".join([_METRICS_HEAD, *rows])


def _row(setting: Setting) -> str:
    key = setting.key
    live = " Live." if setting.is_live else ""
    return (
        f"| `{key.name}` | `{key.flag}`, `{key.variable}` | {_default(key.default)} "
        f"| {_cell(key.form.allowed)} | {_cell(key.why)}{live} |\n"
    )


def _default(value: object) -> str:
    return "none" if value in ("", ()) else f"`{_cell(json.dumps(value))}`"


def _cell(text: str) -> str:
    return text.replace("|", r"\|")
