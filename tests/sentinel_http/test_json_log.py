"""Lines of JSON: one object a line, whatever is logged."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from everfly.runtime.log import NOTICE, VERBOSE, JsonFormatter, LineHandler


@pytest.fixture
def logger(tmp_path: Path) -> Iterator[logging.Logger]:
    logger = logging.Logger("test")  # noqa: LOG001 - of this test alone
    handler = LineHandler(str(tmp_path / "log"))
    handler.setFormatter(JsonFormatter())
    logger.addHandler(handler)
    yield logger
    handler.close()


def lines(tmp_path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (tmp_path / "log").read_text("ascii").splitlines()]


def test_levels_have_the_words_of_redis(logger: logging.Logger, tmp_path: Path) -> None:
    for level in (logging.DEBUG, VERBOSE, NOTICE, logging.WARNING, logging.CRITICAL):
        logger.log(level, "x")
    words = [line["level"] for line in lines(tmp_path)]
    assert words == ["debug", "verbose", "notice", "warning", "error"]


def test_what_is_no_text_or_steers_a_terminal_is_escaped(
    logger: logging.Logger, tmp_path: Path
) -> None:
    logger.warning("a\nb\x1b[31m\udc80\u202e %s", '"quoted"', extra={"group": "g\udcff"})
    (line,) = lines(tmp_path)
    assert line["msg"] == 'a\nb\x1b[31m\udc80\u202e "quoted"'
    assert line["group"] == "g\udcff"
    assert "event" not in line


def test_a_huge_message_is_cut(logger: logging.Logger, tmp_path: Path) -> None:
    logger.warning("x" * 1_000_000, extra={"payload": "y" * 1_000_000})
    assert (tmp_path / "log").stat().st_size < 20_000


def test_a_traceback_is_a_field(logger: logging.Logger, tmp_path: Path) -> None:
    try:
        int("the cause")
    except ValueError:
        logger.exception("it failed")
    (line,) = lines(tmp_path)
    assert line["msg"] == "it failed"
    assert "ValueError: invalid literal" in str(line["traceback"])
