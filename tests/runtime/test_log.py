import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from everfly.runtime.log import LEVELS, NOTICE, VERBOSE, LineHandler, escaped

LINE = re.compile(r"(\d+):X (\d\d \w{3} \d{4} \d\d:\d\d:\d\d\.\d{3}) (.) (.*)")


@pytest.fixture
def logger(tmp_path: Path) -> Iterator[logging.Logger]:
    logger = logging.Logger("test")  # noqa: LOG001 - of this test alone
    handler = LineHandler(str(tmp_path / "log"), check_s=0.0)
    logger.addHandler(handler)
    yield logger
    handler.close()


def test_lines_look_like_those_of_redis(logger: logging.Logger, tmp_path: Path) -> None:
    for level in (logging.DEBUG, VERBOSE, NOTICE, logging.WARNING, logging.ERROR):
        logger.log(level, "+sdown %s", "master m 127.0.0.1 6379")
    lines = (tmp_path / "log").read_text().splitlines()
    found = [LINE.fullmatch(line) for line in lines]
    assert [match and match[3] for match in found] == [".", "-", "*", "#", "#"]
    assert {match and (match[1], match[4]) for match in found} == {
        (str(os.getpid()), "+sdown master m 127.0.0.1 6379")
    }


def test_a_message_is_one_line_and_cannot_steer_a_terminal(
    logger: logging.Logger, tmp_path: Path
) -> None:
    logger.warning("%s", "a\nb\x1b[31mred\x9b\udc80\u2028\u202e\x00ü")
    (line,) = (tmp_path / "log").read_text().splitlines()
    match = LINE.fullmatch(line)
    assert match is not None
    assert match[4] == r"a\nb\x1b[31mred\x9b\udc80\u2028\u202e\x00ü"


def test_a_huge_message_is_cut() -> None:
    assert len(escaped("x" * 1_000_000)) < 10_000


def test_a_rotated_file_is_opened_anew(logger: logging.Logger, tmp_path: Path) -> None:
    logger.warning("first")
    (tmp_path / "log").rename(tmp_path / "log.1")
    logger.warning("second")
    assert (tmp_path / "log.1").read_text().count("\n") == 1
    assert "second" in (tmp_path / "log").read_text()
    (tmp_path / "log").unlink()
    logger.warning("third")
    assert "third" in (tmp_path / "log").read_text()


def test_a_log_that_cannot_be_written_stops_nobody(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    logger = logging.Logger("test")  # noqa: LOG001 - of this test alone
    handler = LineHandler("/dev/full")
    logger.addHandler(handler)
    for _ in range(1000):
        logger.warning("x" * 1000)
    handler.close()
    assert capfd.readouterr() == ("", "")


def test_the_words_of_loglevel_are_in_their_order() -> None:
    assert list(LEVELS) == ["debug", "verbose", "notice", "warning", "nothing"]
    assert sorted(LEVELS.values()) == list(LEVELS.values())
