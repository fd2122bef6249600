"""Turn quantities of Kubernetes ("10Gi", "500M", "1e9", 1024) into whole bytes.

Source: pkg/api/resource/quantity.go, kubernetes/apimachinery (v0.31): a decimal number, then a
power of 1024 (Ki..Ei), a power of 1000 (n u m, k..E) or an exponent. Fractions are rounded up.
"""

import re
from decimal import ROUND_CEILING, Decimal
from typing import Final

from everfly.operator.manifest import Json

_FORM: Final = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d{1,3})?")
_LETTERS_MAX: Final = 64
_DECIMAL: Final = {"n": -3, "u": -2, "m": -1, "k": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}
_BINARY: Final = "KMGTPE"


def bytes_of(value: Json) -> int | None:
    """Return the bytes of a quantity, or None where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    text = str(value)
    found = _FORM.fullmatch(text) if len(text) <= _LETTERS_MAX else None
    if found is None:
        return None
    number, suffix = Decimal(found[1]), found[2] or ""
    if suffix.endswith("i"):
        number *= 1024 ** (_BINARY.index(suffix[0]) + 1)
    elif suffix in _DECIMAL:
        number *= Decimal(1000) ** _DECIMAL[suffix]
    elif suffix:
        number *= Decimal(10) ** int(suffix[1:])
    return int(number.to_integral_value(ROUND_CEILING))
