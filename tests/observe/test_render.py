import io
import json

import pytest
from rich.console import Console

from everfly.core.model import Address, Engine, InstanceReport, Role
from everfly.observe.events import Event, now
from everfly.observe.picture import GroupPicture, InstanceView, KnownInstance, SentinelView
from everfly.observe.render import event_line, render, to_json

A, B = Address("10.0.0.1", 6379), Address("10.0.0.2", 6379)
SENTINEL = Address("10.0.0.9", 26379)


def shown(picture: GroupPicture, *, is_terminal: bool = False, width: int = 160) -> str:
    output = io.StringIO()
    console = Console(file=output, width=width, force_terminal=is_terminal, highlight=False)
    console.print(render(picture, {A: "instance-1"}, width=width))
    return output.getvalue()


def picture_with(report: InstanceReport, lag: int | None = None) -> GroupPicture:
    return GroupPicture(
        group="g",
        sentinels=(
            SentinelView(
                address=SENTINEL,
                primary=KnownInstance(address=A),
                client_address=A,
                replicas=(KnownInstance(address=B),),
                quorum=1,
            ),
        ),
        instances=(
            InstanceView(address=A, report=InstanceReport(role=Role.PRIMARY, offset=1_234_567)),
            InstanceView(address=B, report=report, lag=lag),
        ),
    )


IN_SYNC = InstanceReport(
    role=Role.REPLICA, engine=Engine.VALKEY, primary=A, primary_link_up=True, offset=1_234_000
)


def test_a_healthy_group_shows_roles_links_offsets_and_a_verdict_in_words() -> None:
    text = shown(picture_with(IN_SYNC, lag=567))
    for word in ("instance-1", "primary", "replica", "● up", "1,234,567", "567 B", "● healthy"):
        assert word in text
    assert "\x1b" not in text


def test_a_narrow_screen_leaves_out_columns_and_cuts_none() -> None:
    text = shown(picture_with(IN_SYNC, lag=567), width=80)
    assert "version" not in text
    assert "…" not in text
    assert "1,234,567" in text
    assert "version" in shown(picture_with(IN_SYNC, lag=567), width=120)


def test_a_problem_is_a_word_and_a_mark_and_not_a_colour_alone() -> None:
    down = InstanceReport(role=Role.REPLICA, primary=A)
    text = shown(picture_with(down))
    assert "✗ down" in text
    assert f"✗ the replica {B} has no link to its primary" in text


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[32m" not in shown(picture_with(IN_SYNC), is_terminal=True)
    monkeypatch.delenv("NO_COLOR")
    assert "\x1b[32m" in shown(picture_with(IN_SYNC), is_terminal=True)


def test_dragonfly_counts_entries_and_not_bytes() -> None:
    report = InstanceReport(
        role=Role.REPLICA, engine=Engine.DRAGONFLY, primary=A, primary_link_up=True
    )
    assert "3 entries" in shown(picture_with(report, lag=3))


def test_markup_in_foreign_text_stays_text() -> None:
    picture = GroupPicture(group="[red]g[/red]", error="no group [bold]x[/bold] [/]")
    assert "no group [bold]x[/bold] [/]" in shown(picture)
    event = Event(at=now(), sources=(SENTINEL,), channel="[red]", payload="[/red] [link=x]")
    assert "[/red] [link=x]" in event_line(event, [SENTINEL]).plain


def test_an_event_has_a_mark_for_each_sentinel_that_said_it() -> None:
    event = Event(at=now(), sources=(SENTINEL,), channel="+sdown", payload="x")
    assert "●·" in event_line(event, [SENTINEL, A]).plain
    assert "·●" in event_line(event, [A, SENTINEL]).plain


def test_json_has_what_the_table_has() -> None:
    document = json.loads(json.dumps(to_json(picture_with(IN_SYNC, lag=567))))
    assert document["healthy"] is True
    assert document["primary"] == str(A)
    replica = document["instances"][1]
    assert (replica["role"], replica["lag"], replica["link_up"]) == ("replica", 567, True)
    assert document["sentinels"][0]["quorum_usable"] is True
