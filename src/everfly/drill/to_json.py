"""Turn reports into plain values for `json.dumps`. The keys are an interface.

Times are in milliseconds since the fault.
"""

from collections.abc import Sequence

from everfly.drill.measures import measures
from everfly.drill.record import Writes
from everfly.drill.report import Report, Stale, about, merged, spread

FORMAT = 1


def to_json(reports: Sequence[Report]) -> dict[str, object]:
    """Return all runs, and the limits of each figure over them."""
    record = reports[0].record
    return {
        "format": FORMAT,
        "fault": record.fault.value,
        "engine": record.engine,
        "sentinels": record.sentinel_kind,
        "down_after_ms": record.down_after_ms,
        "passed": all(report.is_passed for report in reports),
        "runs": [_run(report) for report in reports],
        "summary": {measure.key: _limits(measure.values) for measure in measures(reports)},
    }


def _limits(values: Sequence[float | None]) -> dict[str, float | int] | None:
    limits = spread(values)
    if limits is None:
        return None
    least, median, most = (_rounded(each) for each in limits)
    count = sum(value is not None for value in values)
    return {"min": least, "median": median, "max": most, "runs": count}


def _run(report: Report) -> dict[str, object]:
    record = report.record
    return {
        "at": record.began_at,
        "passed": report.is_passed,
        "problems": list(report.problems),
        "remarks": list(report.remarks),
        "victim": record.victim,
        "standstill_ms": _rounded(record.standstill),
        "old_primary": record.old_primary,
        "new_primary": record.new_primary,
        **{
            measure.key: None if measure.values[0] is None else _rounded(measure.values[0])
            for measure in measures([report])
        },
        "writes": _writes(record.writes),
        "stubborn": _stubborn(report.stale, record.stubborn),
        "actions": [{"ms": _rounded(mark.at), "text": mark.text} for mark in record.marks],
        "notices": [
            {
                "ms": {name: _rounded(at) for name, at in row.times.items()},
                "event": row.channel,
                "payload": row.payload,
                "about": about(row, record),
            }
            for row in merged(record)
        ],
        "roles": [
            {
                "instance": span.instance,
                "state": span.state,
                "from_ms": _rounded(span.start),
                "to_ms": _rounded(span.end),
            }
            for span in record.spans
        ],
    }


def _writes(writes: Writes) -> dict[str, object]:
    return {
        "acknowledged": len(writes.acknowledged),
        "lost": len(writes.lost),
        "doubled": writes.doubled,
        "failed_attempts": writes.failures,
        "last_failure": writes.last_failure or None,
    }


def _stubborn(stale: Stale | None, writes: Writes | None) -> dict[str, object] | None:
    if stale is None or writes is None:
        return None
    return {
        "acknowledged_since_fault": stale.acknowledged,
        "lost": stale.lost,
        "window_ms": _rounded(stale.window),
    }


def _rounded(value: float) -> float | int:
    return value if isinstance(value, int) else round(value, 1)
