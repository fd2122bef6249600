"""Turn one request into two lists of replies, a genuine Sentinel's and ours, that should be equal.

What must differ is made equal, by these rules and no others: run ids, the two Sentinels' ports,
moments and counters (`VOLATILE`), ids and fields of clients, the program's version.
"""

import re
from dataclasses import dataclass
from typing import Final

from servers import Sentinel
from wire_reply import WireConnection, encode

VOLATILE: Final = (
    *("link-pending-commands", "last-ping-sent", "last-ok-ping-reply", "last-ping-reply"),
    *("info-refresh", "role-reported-time", "last-hello-message", "slave-repl-offset"),
    *("s-down-time", "o-down-time", "master-link-down-time"),
)
"""Fields of SENTINEL maps that count milliseconds, bytes or requests under way."""


@dataclass(frozen=True)
class Pair:
    """A genuine Sentinel and ours, in the same state."""

    genuine: Sentinel
    ours: Sentinel
    ending: bytes = b""
    """Goes behind the last step, so that what a stranger may not ask can be told from silence."""

    def alike(self, text: str) -> str:
        """Make what must differ equal, as the module says."""
        for sentinel in (self.genuine, self.ours):
            text = re.sub(rf"\b{sentinel.port}\b", "<sentinel-port>", text)
        text = re.sub(r"\b[0-9a-f]{40}\b", "<id>", text)
        names = "|".join(VOLATILE)
        return uncounted(re.sub(rf"(\$'(?:{names})') \$'\d+'", r"\1 <n>", text))

    def ask_both(self, protocol: int, steps: list[bytes]) -> tuple[list[str], list[str]]:
        """Return the replies of the genuine one and of ours, made alike."""
        answers = []
        for sentinel in (self.genuine, self.ours):
            with WireConnection(sentinel.port) as connection:
                if protocol == 3:
                    connection.exchange(encode("HELLO", "3"))
                replies = connection.exchange(b"".join([*steps, self.ending]))
                answers.append([self.alike(reply) for reply in replies])
        return answers[0], answers[1]


def uncounted(reply: str) -> str:
    """Take out what a reply counts or what names this very connection and program."""
    reply = re.sub(r"(\$'version') \$'[0-9.a-z]+'", r"\1 <version>", reply)
    reply = re.sub(r"(\$'id') :'\d+'", r"\1 <n>", reply)
    if re.fullmatch(r":'\d{2,}'", reply):  # CLIENT ID
        return ":<n>"
    if " fd=" in reply:  # CLIENT INFO: its fields, in order, without their values
        return " ".join(word.split("=")[0] for word in reply.split())
    return reply
