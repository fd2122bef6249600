"""Turn text from outside into text that is harmless on a terminal.

Names, payloads and error texts come from whoever can reach a Sentinel. Control characters (escape
sequences above all), characters that reorder text, and bytes that were no UTF-8 are shown as
escapes; length is bounded. Markup of
the renderer is not escaped: give it `Text`, never `str`.
"""

import unicodedata
from typing import Final

LENGTH_MAX: Final = 200
"""Characters of one piece of foreign text: more than any address or event needs."""

_UNSEEN: Final = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
"""Unicode categories of what has no shape of its own, or changes that of others."""


def printable(text: str, length_max: int = LENGTH_MAX) -> str:
    """Return the text with everything invisible escaped, cut at `length_max` with an ellipsis."""
    cut = text[:length_max]
    shown = cut if cut.isascii() and cut.isprintable() else "".join(map(_shown, cut))
    return shown + ("…" if len(text) > length_max else "")


def _shown(character: str) -> str:
    if unicodedata.category(character) not in _UNSEEN:
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was no UTF-8, kept as a surrogate
        return f"\\x{code - 0xDC00:02x}"
    return (
        f"\\x{code:02x}"
        if code < 0x100
        else f"\\u{code:04x}"
        if code < 0x10000
        else f"\\U{code:08x}"
    )
