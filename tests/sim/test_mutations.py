"""Would the simulator notice? A few deliberate mistakes of those that `make mutations` tries."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parent.parent.parent / "bench"
SEEDS = "0..12"
"""Each of these mistakes is caught by one of the first three worlds; worlds change with the
simulator, so a few more may be needed one day."""


def bench(*arguments: str, folder: Path = BENCH) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(folder / "mutations.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("vote-not-saved", "a vote is saved before it is told"),
        ("own-vote-is-enough", "quorum and majority"),
        ("ignore-quorum-of-witnesses", "a quorum finds it down"),
    ],
)
def test_a_deliberate_mistake_is_caught_by_its_rule(name: str, rule: str) -> None:
    done = bench("--one", name, "--seeds", SEEDS)
    assert done.returncode == 0, done.stderr
    last = json.loads(done.stdout.splitlines()[-1])
    assert [broken for broken, _ in last["broken"]] == [rule]


@pytest.mark.slow
def test_the_world_that_catches_a_mistake_shrinks_to_a_story_of_thirty_lines() -> None:
    found = bench("--one", "vote-not-saved", "--seeds", SEEDS)
    seed = json.loads(found.stdout.splitlines()[-1])["seed"]
    done = bench("--one", "vote-not-saved", "--shrink", str(seed))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) <= 30
    assert "BROKEN at " in lines[1]
    assert "a vote is saved before it is told" in lines[1]
    assert sum("BROKEN RULE" in line for line in lines) >= 1


def test_a_mistake_that_does_not_fit_the_source_any_more_is_told(tmp_path: Path) -> None:
    for name in ("mutations.py", "mutants.py"):
        text = (BENCH / name).read_text()
        # The core is where it was: only the table is another one.
        place = f'CORE: Final = Path({str(BENCH.parent)!r}) / "src" / "everfly" / "core"\n'
        lines = [place if line.startswith("CORE: ") else f"{line}\n" for line in text.splitlines()]
        (tmp_path / name).write_text("".join(lines))
    table = tmp_path / "mutants.txt"
    table.write_text("moved-on: a promise\n@ election\n-    this line was never there\n+    pass\n")
    done = bench("--one", "moved-on", "--seeds", "0..1", folder=tmp_path)
    assert done.returncode == 1
    assert "mutant moved-on: core/election.py has its text 0 times, not once" in done.stderr
    table.write_text("this is no table\n")
    done = bench("--list", folder=tmp_path)
    assert done.returncode == 1
    assert "mutants.txt, line 1: it is no part of a mutant" in done.stderr
    done = bench("--only", "nonsense")
    assert done.returncode == 1
    assert "there is no mutant 'nonsense'" in done.stderr
