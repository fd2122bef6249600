"""Each story of this folder comes true, word for word.

`EVERFLY_REWRITE=1 pytest tests/scenarios` writes down what happens now; read the difference.
"""

import os
from pathlib import Path

import pytest

from scenarios.story import HERE, StoryError, retell

STORIES = sorted(HERE.glob("*.txt"))


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_the_story_comes_true(path: Path) -> None:
    told = path.read_text()
    happened = retell(path)
    if os.environ.get("EVERFLY_REWRITE"):
        path.write_text(happened)
        return
    assert happened.splitlines() == told.splitlines()


def test_a_story_that_does_not_come_true_is_told_differently(tmp_path: Path) -> None:
    story = tmp_path / "wrong.txt"
    lines = (HERE / "discovery.txt").read_text().splitlines()
    effects = [line for line in lines if line.startswith(">")]
    story.write_text("\n".join(line for line in lines if line != effects[0]) + "\n")
    assert retell(story).splitlines() == lines


def test_a_senseless_line_is_named(tmp_path: Path) -> None:
    story = tmp_path / "senseless.txt"
    story.write_text("# prose\nwakeup alpha\n")
    with pytest.raises(StoryError, match=r"senseless\.txt:2: wakeup alpha"):
        retell(story)
