import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from everfly.observe.printable import LENGTH_MAX, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text", "plain text"),
        ("Zürich → 東京", "Zürich → 東京"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\nb\rc\td", "a\\x0ab\\x0dc\\x09d"),
        ("\u202eevil", "\\u202eevil"),
        ("\udcff", "\\xff"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_what_cannot_be_seen_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_long_text_is_cut() -> None:
    assert printable("x" * (LENGTH_MAX + 1)) == "x" * LENGTH_MAX + "…"
    assert printable("x" * LENGTH_MAX) == "x" * LENGTH_MAX


@given(st.text(st.characters()))
def test_nothing_that_is_shown_can_steer_a_terminal(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable() or all(
        not each.isascii() for each in shown if not each.isprintable()
    )
    assert "\x1b" not in shown
    shown.encode()  # no surrogate is left
    assert Text(shown).plain == shown
