import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everfly.runtime.glob import PATTERN_BYTES_MAX, Glob


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("*", "", True),
        ("*", "anything", True),
        ("", "", True),
        ("", "x", False),
        ("h?llo", "hallo", True),
        ("h?llo", "hllo", False),
        ("h*llo", "heeeello", True),
        ("h*llo", "hello!", False),
        ("h[ae]llo", "hallo", True),
        ("h[ae]llo", "hillo", False),
        ("h[^e]llo", "hallo", True),
        ("h[^e]llo", "hello", False),
        ("h[a-b]llo", "hbllo", True),
        ("h[b-a]llo", "hallo", True),
        (r"h[\]]llo", "h]llo", True),
        (r"\*", "*", True),
        (r"\*", "x", False),
        ("a\\", "a\\", True),
        ("[]", "x", False),
        ("[abc", "b", True),
        ("a*b*c", "axxbxxc", True),
        ("a*b*c", "axxbxx", False),
        ("**a**", "bab", True),
        ("+*", "+sdown", True),
        ("[-+]?down", "-odown", True),
        ("Case", "case", False),
    ],
)
def test_a_pattern_fits_what_it_fits_in_redis(pattern: str, text: str, fits: bool) -> None:
    assert Glob(pattern.encode()).matches(text.encode()) is fits


def test_case_is_ignored_on_request() -> None:
    assert Glob(b"ANNOUNCE-[I-P]?", ignore_case=True).matches(b"announce-ip")


@given(st.binary(max_size=30))
def test_an_escaped_text_fits_itself_alone(text: bytes) -> None:
    pattern = b"".join(b"\\" + bytes([each]) for each in text)
    assert Glob(pattern).matches(text)
    assert not Glob(pattern).matches(text + b"x")


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_no_pattern_raises(pattern: bytes, text: bytes) -> None:
    assert Glob(pattern).matches(text) in (True, False)


@pytest.mark.parametrize("pattern", [b"*a" * 400, b"*" * PATTERN_BYTES_MAX + b"b", b"*?" * 400])
def test_a_malicious_pattern_costs_little(pattern: bytes) -> None:
    glob = Glob(pattern)
    began = time.process_time()
    for _ in range(10):
        glob.matches(b"a" * 500 + b"c")
    assert time.process_time() - began < 5
