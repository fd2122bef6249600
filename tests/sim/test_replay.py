"""Replays: the same decisions as then, with their reasons, also of files that a crash left."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from everfly.cli import main
from everfly.core.effects import Notify
from everfly.core.inputs import Connected, Ponged
from everfly.core.model import Instant, LinkId
from everfly.core.notices import Level
from everfly.errors import SettingsError
from everfly.sim.replay import replay
from recorded_life import BEGAN, Life, recorded


def record_failover(path: Path, *, limit: int = 1 << 24) -> Life:
    machine = recorded(path, limit=limit)
    life = Life(machine, dies_at=5_000).until(20_000)
    machine.recorder.close("the Sentinel ended")
    return life


def notices(life: Life) -> list[str]:
    return [
        f"{effect.notice.event.wire} {effect.notice.payload}"
        for effect in life.decided
        if isinstance(effect, Notify) and effect.notice.event.level is not Level.DEBUG
    ]


def everfly(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["sim", *map(str, arguments)])


def test_a_replay_says_what_was_said_and_gives_the_reasons(tmp_path: Path) -> None:
    life = record_failover(tmp_path / "rec")
    found = replay(tmp_path / "rec")
    assert found.is_faithful
    assert found.end == "the Sentinel ended"
    said = [notice for decision in found.decisions for notice in decision.notices]
    assert said == notices(life)
    assert any("+switch-master cache 10.0.0.1 6379 10.0.0.2 6379" in line for line in said)
    reasons = [reason for decision in found.decisions for reason in decision.reasons]
    choice = next(one for one in reasons if one.decision.startswith("choice of a new primary"))
    assert choice.facts == ("10.0.0.2:6379 chosen: priority 100, offset 100",)
    orders = [order for decision in found.decisions for order in decision.orders]
    assert "tells 10.0.0.2:6379 to become a primary, epoch 1" in orders


def test_a_replay_of_a_rotated_recording_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    machine = recorded(tmp_path / "rec", limit=60_000)
    Life(machine, dies_at=40_000).until(60_000)
    machine.recorder.close("the Sentinel ended")
    for name, end in (("rec", "the Sentinel ended"), ("rec.1", "it was full")):
        found = replay(tmp_path / name)
        assert found.head.checkpoint
        assert found.is_faithful
        assert found.end == end
        assert found.steps > 100


@pytest.mark.parametrize("cut", [1, 2, 9, 40])
def test_a_file_that_a_crash_cut_is_read_as_far_as_it_goes(tmp_path: Path, cut: int) -> None:
    record_failover(tmp_path / "rec")
    text = (tmp_path / "rec").read_bytes()
    whole = replay(tmp_path / "rec")
    body = text[: text.rindex(b'{"end"')]
    (tmp_path / "cut").write_bytes(body[:-cut])
    found = replay(tmp_path / "cut")
    assert found.is_faithful
    assert found.steps in {whole.steps, whole.steps - 1, whole.steps - 2}
    assert "cut in line" in found.end or found.end == "the process was killed"


def test_a_file_that_ends_between_two_lines_was_killed(tmp_path: Path) -> None:
    record_failover(tmp_path / "rec")
    text = (tmp_path / "rec").read_bytes()
    (tmp_path / "cut").write_bytes(text[: text.rindex(b'{"end"')])
    assert replay(tmp_path / "cut").end == "the process was killed"


def test_a_replay_that_decides_otherwise_says_where(tmp_path: Path) -> None:
    record_failover(tmp_path / "rec")
    lines = (tmp_path / "rec").read_text().splitlines()
    # Another setting than then, as another version could have another rule.
    head = json.loads(lines[0])
    head["policy"]["ping_period_min"] = 50
    head["policy"]["ping_share_of_down_after"] = 20
    (tmp_path / "other").write_text("\n".join([json.dumps(head), *lines[1:]]) + "\n")
    found = replay(tmp_path / "other")
    assert not found.is_faithful
    assert found.first_divergence is not None
    assert found.first_divergence.line > 2
    result = everfly("--replay", tmp_path / "other")
    assert result.exit_code == 1
    assert f"DIVERGED  line {found.first_divergence.line}" in result.stdout


def test_a_bug_of_the_core_is_met_again(tmp_path: Path) -> None:
    machine = recorded(tmp_path / "rec")
    machine.start(BEGAN)
    machine.step(Instant(BEGAN + 1), Connected(LinkId(1), "10.0.1.1"))
    machine.recorder.close("")
    lines = (tmp_path / "rec").read_text().splitlines()[:-1]
    # It was recorded to have raised on this; the core as it is does not.
    lines.append(f'[{BEGAN + 2},"Ponged",{{"link":1,"reply":"PONG"}},"failed"]')
    (tmp_path / "bug").write_text("\n".join(lines) + "\n")
    found = replay(tmp_path / "bug")
    assert not found.is_faithful
    assert found.failure.startswith("line 4: the core raised then on 10.0.0.1:6379 answers PING")
    with pytest.raises(AttributeError):
        # And that it would be seen: the core raises on what no shell can make.
        machine.step(Instant(BEGAN + 3), Ponged(LinkId(1), 7))  # type: ignore[arg-type]  # on purpose


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: it is no JSON"),
        ("port 26379\n", "line 1: it is no JSON"),
        ("{}\n", "line 1: it does not begin like a recording"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "rec").write_text(text)
    with pytest.raises(SettingsError, match=said):
        replay(tmp_path / "rec")
    result = everfly("--replay", tmp_path / "rec")
    assert result.exit_code == 2
    assert said in result.stderr.replace("\n", " ")


def test_a_bad_line_in_the_middle_is_named(tmp_path: Path) -> None:
    record_failover(tmp_path / "rec")
    lines = (tmp_path / "rec").read_text().splitlines()
    lines[7] = '[1,"Nonsense",{}]'
    (tmp_path / "bad").write_text("\n".join(lines) + "\n")
    with pytest.raises(SettingsError, match="line 8: this program knows no input 'Nonsense'"):
        replay(tmp_path / "bad")
    with pytest.raises(SettingsError, match="none cannot be read: No such file"):
        replay(tmp_path / "none")


def test_a_replay_is_shown_for_people_and_for_programs(tmp_path: Path) -> None:
    record_failover(tmp_path / "rec")
    people = everfly("--replay", tmp_path / "rec")
    assert people.exit_code == 0
    assert "steps are decided now as they were then" in people.stdout
    assert "because: choice of a new primary, epoch 1" in people.stdout
    programs = everfly("--replay", tmp_path / "rec", "--json")
    *decisions, whole = map(json.loads, programs.stdout.splitlines())
    assert whole["divergences"] == 0
    assert whole["decisions"] == len(decisions)
    assert any(
        notice.startswith("+switch-master")
        for decision in decisions
        for notice in decision["notices"]
    )
