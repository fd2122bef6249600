"""What outlives an operator is read back as it was written, whatever else is in a status."""

import json

from hypothesis import given
from hypothesis import strategies as st

from everfly.core.group_view import Lineage, Move, Record
from everfly.core.model import Epoch
from everfly.operator.manifest import Json
from everfly.operator.record import record_fields, record_of

NAMES = st.text("abc-0123456789", min_size=1, max_size=20)
NUMBERS = st.integers(0, 2**53)
RECORDS = st.builds(
    Record,
    primary=st.just("") | NAMES,
    lineage=st.none() | st.builds(Lineage, NAMES, NUMBERS, NUMBERS, st.just("") | NAMES, NUMBERS),
    move=st.none()
    | st.builds(Move, NAMES, NAMES, st.just("") | NAMES, st.booleans(), NUMBERS.map(Epoch)),
    stale=st.lists(NAMES, max_size=3).map(tuple),
    epoch=NUMBERS.map(Epoch),
    term=NUMBERS,
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


def stored(value: Json) -> Json:
    """As an API server stores it: keys without a value are gone."""
    if isinstance(value, dict):
        return {key: stored(each) for key, each in value.items() if each is not None}
    return value


@given(RECORDS)
def test_a_record_is_read_back_as_it_was_written(record: Record) -> None:
    status = json.loads(json.dumps(stored(record_fields(record))))
    assert record_of(status) == record


@given(
    st.dictionaries(
        st.sampled_from(["primary", "lineage", "record", "phase"]),
        ANYTHING
        | st.dictionaries(
            st.sampled_from(["epoch", "term", "move", "stale", "history", "offset", "to"]), ANYTHING
        ),
    )
)
def test_nonsense_in_a_status_is_no_record_and_no_error(status: dict[str, Json]) -> None:
    record = record_of(status)
    assert isinstance(record.primary, str)
    assert isinstance(record.epoch, int)


def test_a_status_of_the_upstream_operator_holds_no_record() -> None:
    assert record_of({"phase": "Ready", "isRollingUpdate": False}) == Record()
