"""Turn one conversation about users into two lists of replies, a genuine Sentinel's and ours.

A conversation is written `a command | another | b: one on a second connection`. Each begins with a
user `root` who may do everything, as whom connection `a` speaks; afterwards all other users are
gone and `default` is open again. What must differ is made equal: `alike` says what.
"""

import re
import shlex
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from servers import Sentinel
from wire_reply import Value, WireConnection, encode

ASKED: Final = encode("HELLO", "9")
"""Goes behind each command: everybody may send it, and its answer ends the replies before it."""
ANSWERED: Final = ("NOPROTO unsupported", "Can't execute 'hello'")
OPEN: Final = ("on", "nopass", "allkeys", "allchannels", "allcommands", "clearselectors")
RULES: Final = re.compile(r"(?:(?<=[ '(])[+-][a-z][^ ')]*(?: |(?=[')])))+")


class AclConnection(WireConnection):
    """A connection of somebody who may perhaps do nothing."""

    def step(self, *words: str) -> list[Value]:
        """Send a command; return its replies, the last a `(closed)` if it closed then."""
        try:
            self._socket.sendall(encode(*words) + ASKED)
            replies: list[Value] = []
            while True:
                value = self._read()
                if any(text in value.text for text in ANSWERED):
                    return replies
                replies.append(value)
        except (TimeoutError, EOFError, ConnectionError):
            return [*replies, Value("(closed)")] if "replies" in locals() else [Value("(closed)")]


@dataclass(frozen=True)
class AclPair:
    """A genuine Sentinel and ours, with the same configuration."""

    genuine: Sentinel
    ours: Sentinel

    def converse(self, protocol: int, text: str) -> tuple[list[str], list[str]]:
        """Hold a conversation with each, and return the replies of the genuine one and of ours."""
        genuine, ours = (
            [alike(reply) for reply in conversation(sentinel.port, protocol, text)]
            for sentinel in (self.genuine, self.ours)
        )
        return genuine, ours


def conversation(port: int, protocol: int, text: str) -> list[str]:
    """Hold one, and put everything back."""
    with ExitStack() as stack:
        root = stack.enter_context(AclConnection(port))
        root.step("ACL", "SETUSER", "root", *OPEN)
        root.step("AUTH", "root", "x")
        people: dict[str, AclConnection] = {}
        replies: list[str] = []
        for line in text.split(" | "):
            name, _, command = line.rpartition(": ") if line[1:3] == ": " else ("a", "", line)
            if name not in people:
                people[name] = stack.enter_context(AclConnection(port))
                if protocol == 3:
                    people[name].step("HELLO", "3")
                if name == "a":
                    people[name].step("AUTH", "root", "x")
            replies += map(str, people[name].step(*shlex.split(command)))
        [users] = root.step("ACL", "USERS")
        root.step(
            "ACL",
            "DELUSER",
            "-",
            *(user.text for user in users.children if user.text not in ("default", "root")),
        )
        root.step("ACL", "SETUSER", "default", *OPEN)
        root.step("ACL", "LOG", "RESET")
        return replies


def alike(reply: str) -> str:
    """Make equal: the order of single commands (a hash table's), ages, ids, lines of clients."""
    reply = RULES.sub(lambda run: " ".join(sorted(run.group().split())) + " ", reply)
    reply = reply.replace(" '", "'").replace(" )", ")")
    reply = re.sub(r"(\$'age-seconds') [$,]'[0-9.e-]+'", r"\1 <n>", reply)
    reply = re.sub(r"\$'id=\d+ [^']*'", _fields, reply)
    reply = re.sub(r"(\$'version') \$'[0-9.a-z]+'", r"\1 <version>", reply)
    reply = re.sub(r"(\$'id') :'\d+'", r"\1 <n>", reply)
    return re.sub(r"/[^ :']*/(\w+\.acl)", r"\1", reply)


def _fields(line: re.Match[str]) -> str:
    told = ("cmd", "user", "name", "resp", "sub", "psub", "db")
    pairs = [word.partition("=") for word in line.group().strip("$'").split()]
    return " ".join(f"{key}={value if key in told else ''}" for key, _, value in pairs)
