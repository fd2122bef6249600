"""Turn a text that is an IP address, in any form that C accepts, into its usual form."""

import ipaddress
import re

_PART = re.compile(r"0[xX][0-9a-fA-F]{1,8}|0[0-7]{0,11}|[1-9][0-9]{0,9}", re.ASCII)


def literal_ip(text: str) -> str | None:
    """Return the address as `inet_ntop` writes it, or None for a name.

    `127.1` is 127.0.0.1 and `0x7f000001` too, as for `getaddrinfo` with `AI_NUMERICHOST`.
    """
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return _short_ipv4(text)


def _short_ipv4(text: str) -> str | None:
    parts = text.split(".")
    if len(parts) > 4 or not all(_PART.fullmatch(part) for part in parts):
        return None
    numbers = [_to_number(part) for part in parts]
    # The last part fills all the bytes that the others left.
    rest = 4 - len(numbers) + 1
    if any(number > 255 for number in numbers[:-1]) or numbers[-1] >= 256**rest:
        return None
    packed = bytes(numbers[:-1]) + numbers[-1].to_bytes(rest, "big")
    return str(ipaddress.IPv4Address(packed))


def _to_number(part: str) -> int:
    if part[:2].lower() == "0x":
        return int(part, 16)
    return int(part, 8 if part[0] == "0" else 10)
