"""`everfly sim` as people and programs use it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from everfly.cli import main
from everfly.errors import SettingsError
from everfly.sim.many import results
from everfly.sim.profiles import PROFILES
from everfly.sim.seeds import (
    KnownSeed,
    Seeds,
    parse_commit,
    parse_duration,
    parse_range,
    read_known,
)

KNOWN = Path(__file__).parent / "seeds.txt"


def everfly(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["sim", *map(str, arguments)])


def test_worlds_of_two_processes_are_those_of_one_in_the_same_order() -> None:
    def traces(jobs: int) -> list[tuple[int, str]]:
        return [(one.seed, one.trace) for one in results(Seeds(3, 9, None), jobs)]

    assert traces(2) == traces(1)


def test_when_time_is_up_what_was_begun_is_counted() -> None:
    found = [one.seed for one in results(Seeds(5, None, 0.01), 2)]
    assert found == list(range(5, 5 + len(found)))
    assert 0 < len(found) <= 24


def test_many_worlds_are_summed_up() -> None:
    result = everfly("--seeds", "0..4", "--jobs", "2")
    assert result.exit_code == 0
    assert "4 worlds, seeds 0..3, 0 broken" in result.stdout
    assert "slowest: seed " in result.stdout
    assert "seeds 0..4, 2 at a time" in result.stderr


def test_many_worlds_are_lines_of_json_for_programs() -> None:
    result = everfly("--seeds", "0..3", "--json")
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [one["seed"] for one in found] == [0, 1, 2]
    assert all(one["violations"] == [] and one["steps"] > 0 and one["faults"] for one in found)


def test_one_world_is_a_story_a_trace_or_a_page(tmp_path: Path) -> None:
    story = everfly("--seed", "3", "--html", tmp_path / "world.html")
    assert story.exit_code == 0
    assert story.stdout.startswith("seed 3: ")
    assert "FAULT" in story.stdout
    assert len(story.stdout.splitlines()) <= 30
    text = (tmp_path / "world.html").read_text()
    assert "everfly sim, seed 3" in text
    assert 'class="arrow ' in text
    trace = everfly("--seed", "3", "--trace")
    assert len(trace.stdout.splitlines()) > 30


def test_a_world_that_breaks_no_rule_is_not_shrunk() -> None:
    result = everfly("--minimise", "3")
    assert result.exit_code == 0
    assert "breaks no rule" in result.stderr


def test_a_commit_begins_with_a_seed_of_its_own(tmp_path: Path) -> None:
    head = "0123456789abcdef0123456789abcdef01234567"
    first = int(head[:12], 16)
    result = everfly("--commit", head, "--for", "1s", "--json")
    assert json.loads(result.stdout.splitlines()[0])["seed"] == first
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.com", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    line = [*git, "rev-parse", "HEAD"]
    head = subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()
    command = [sys.executable, "-m", "everfly", "sim", "--commit", "--for", "1s", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert json.loads(done.stdout.splitlines()[0])["seed"] == parse_commit(head)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--seed", "1", "--minimise", "2"), "--seed and --minimise exclude each other"),
        (("--seed", "1", "--for", "1s"), "exclude each other"),
        (("--seeds", "7"), "'7' is no range of seeds; write it as 0..1000"),
        (("--seeds", "0..2", "--commit", "abc"), "both say where to begin"),
        (("--for", "soon"), "'soon' is no duration"),
        (("--commit", "xyz"), "is no commit hash"),
        (("--seeds", "0..2", "--profile", "calm"), "'calm' is no profile"),
        (("--replay", "none"), "cannot be read"),
        (("--seed", "1", "--html", "/nowhere/page"), "cannot be written"),
    ],
)
def test_what_cannot_be_done_is_told(arguments: tuple[str, ...], said: str) -> None:
    result = everfly(*arguments)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_makes_worlds(name: str) -> None:
    result = everfly("--seeds", "0..1", "--profile", name)
    assert result.exit_code == 0
    assert "1 worlds" in result.stdout


def test_known_seeds_have_a_reason_each(tmp_path: Path) -> None:
    known = read_known(KNOWN)
    assert known
    assert all(one.why for one in known)
    file = tmp_path / "seeds.txt"
    file.write_text("# comment\n\n7 why it broke\n")
    assert read_known(file) == [KnownSeed(7, "why it broke")]
    for text, said in [
        ("x y\n", "line 1: write `SEED what it showed`"),
        ("7\n", "line 1: write"),
        ("7 a\n7 b\n", "line 2: seed 7 stands there twice"),
    ]:
        file.write_text(text)
        with pytest.raises(SettingsError, match=said):
            read_known(file)
    with pytest.raises(SettingsError, match="cannot be read"):
        read_known(tmp_path / "none")


def test_ranges_and_durations_are_read() -> None:
    assert parse_range("3..7") == (3, 7)
    assert [parse_duration(text) for text in ("90", "90s", "5m", "1h")] == [90, 90, 300, 3600]
