"""A real failover, recorded by real Sentinels, and decided again in a replay."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from everfly.core.notices import Event, Level
from everfly.sim.replay import Replay, replay
from processes import until
from servers import Deployment, Sentinel

SECRET = "correct-horse-battery-staple"
NOTICE = re.compile(r"[#*] ([+-][a-z-]+ .*)$")
LOGGED = {event.wire for event in Event if event.level in {Level.NOTICE, Level.WARNING}}
"""A Sentinel's log leaves out the lesser ones."""


def logged(sentinel: Sentinel) -> list[str]:
    assert sentinel.child is not None
    lines = sentinel.child.log.read_text().splitlines()
    found = (NOTICE.search(line) for line in lines)
    return [one[1].rstrip() for one in found if one and one[1].split()[0] in LOGGED]


def replayed(found: Replay) -> list[str]:
    said = [notice for decision in found.decisions for notice in decision.notices]
    return [notice for notice in said if notice.split()[0] in LOGGED]


@pytest.mark.integration
def test_a_recorded_failover_is_decided_again_in_its_replay(tmp_path: Path) -> None:
    deployment = Deployment(password=SECRET)
    files = [tmp_path / f"rec-{number}" for number in range(3)]
    for sentinel, file in zip(deployment.sentinels, files, strict=True):
        sentinel.options = ("--record", str(file))
    with deployment:
        old = deployment.primary()
        old.kill()
        deployment.new_primary(old)
        old.start_as_left()
        until(lambda: not old.is_primary(), 20, show=old.replication)
        # Two end orderly, one is killed.
        assert [sentinel.stop() for sentinel in deployment.sentinels[:2]] == [0, 0]
        deployment.sentinels[2].kill()
        said = [logged(sentinel) for sentinel in deployment.sentinels]
    for file, lines in zip(files, said, strict=True):
        found = replay(file)
        assert found.is_faithful, found.first_divergence or found.failure
        again = replayed(found)
        assert again == lines[: len(again)]
        assert any(line.startswith("+switch-master") for line in again)
        assert SECRET not in file.read_text()
    assert [replay(file).end for file in files[:2]] == ["the Sentinel ended"] * 2
    assert replayed(replay(files[0])) == said[0]
    leads = [
        decision
        for file in files
        for decision in replay(file).decisions
        if any(one.startswith("+elected-leader") for one in decision.notices)
    ]
    assert len(leads) == 1
    command = [sys.executable, "-m", "everfly", "sim", "--replay", str(files[0]), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout.splitlines()[-1])["divergences"] == 0
