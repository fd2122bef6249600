"""Turn `spec.everfly.monitoring` into what the Prometheus operator is to be told of a data store.

podMonitor: true          scrape the metrics of every instance
podMonitor: {interval, scrapeTimeout, labels, relabelings, metricRelabelings}
prometheusRule: true      alerts that are worth being woken for
prometheusRule: {labels, without, memoryPercent, lagRecords, backupHours}
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from everfly.operator.manifest import JsonObject
from everfly.operator.wishes.fields import Fields

MEMORY_PERCENT: Final = 90
LAG_RECORDS: Final = 10_000
"""As many entries as a successor may be behind before it counts as incomplete."""
BACKUP_HOURS: Final = 26
"""A daily backup, and two hours for it to be done."""

_DURATION: Final = re.compile(r"(?=[0-9])([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?")
"""The part of Prometheus' durations in which scrapes are given."""


@dataclass(frozen=True)
class PodMonitorWish:
    """How instances are scraped; empty texts: as Prometheus does it by default."""

    interval: str = ""
    scrape_timeout: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    """By which a Prometheus finds it, such as `release: prometheus`."""
    relabelings: tuple[JsonObject, ...] = ()
    metric_relabelings: tuple[JsonObject, ...] = ()


@dataclass(frozen=True)
class RuleWish:
    """Which alerts there are, and from when on."""

    labels: Mapping[str, str] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    """Names of alerts that are left out."""
    memory_percent: int = MEMORY_PERCENT
    lag_records: int = LAG_RECORDS
    backup_hours: int = BACKUP_HOURS


@dataclass(frozen=True)
class MonitoringWish:
    """What is wanted; None: not asked for."""

    pod_monitor: PodMonitorWish | None = None
    rules: RuleWish | None = None


def read_monitoring(fields: Fields | None) -> MonitoringWish:
    """Return what `monitoring` says; problems are noted in the fields."""
    if fields is None:
        return MonitoringWish()
    return MonitoringWish(
        _pod_monitor(_switch(fields, "podMonitor")), _rules(_switch(fields, "prometheusRule"))
    )


def _switch(fields: Fields, name: str) -> Fields | None:
    """Return what is said of something that `true` asks for as it is by default."""
    found = fields.value.get(name)
    path = f"{fields.path}.{name}"
    if found is None or found is False:
        return None
    if found is True:
        return Fields({}, path, fields.problems)
    if isinstance(found, Mapping):
        return Fields(found, path, fields.problems)
    fields.problems.add(path, f"must be true, false or an object, is {found!r}")
    return None


def _pod_monitor(fields: Fields | None) -> PodMonitorWish | None:
    if fields is None:
        return None
    return PodMonitorWish(
        interval=_duration(fields, "interval"),
        scrape_timeout=_duration(fields, "scrapeTimeout"),
        labels=fields.strings("labels"),
        relabelings=fields.objects("relabelings"),
        metric_relabelings=fields.objects("metricRelabelings"),
    )


def _duration(fields: Fields, name: str) -> str:
    found = fields.text(name)
    if found and not _DURATION.fullmatch(found):
        fields.problems.add(f"{fields.path}.{name}", f"must be a time such as 30s, is {found!r}")
    return found


def _rules(fields: Fields | None) -> RuleWish | None:
    if fields is None:
        return None
    return RuleWish(
        labels=fields.strings("labels"),
        without=fields.texts("without"),
        memory_percent=fields.integer("memoryPercent", MEMORY_PERCENT, least=1, most=100),
        lag_records=fields.integer("lagRecords", LAG_RECORDS, least=1),
        backup_hours=fields.integer("backupHours", BACKUP_HOURS, least=1),
    )
