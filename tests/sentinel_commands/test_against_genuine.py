"""Every conversation of `invocations.txt`, with a genuine Redis 7.0 Sentinel and with our port.

Both are told the same topology: the genuine one by its file, ours by the views of a scripted brain.
Nobody listens on its addresses, so nothing moves. What must differ is made equal before comparing:
ids and ports, moments and counters, whether a link is lost just now, and of a client's line what
only its program can know.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pytest

from everfly.core.model import Address, Epoch, InstanceReport, Millis, RunId
from everfly.core.snapshot import GroupView
from kinds import HOST, Kind, missing
from processes import free_port
from sentinel_face import face_in_thread, group_view, instance_view, peer_view
from servers import Sentinel
from wire_pair import VOLATILE
from wire_reply import Value, WireConnection, encode

pytestmark = [pytest.mark.compat, pytest.mark.xdist_group("sentinel-commands-genuine")]

NAME: Final = "mymaster"
ME: Final = RunId("e" * 40)
PEER: Final = RunId("f" * 40)
LINES: Final = [
    line
    for line in (Path(__file__).parent / "invocations.txt").read_text().splitlines()
    if not line.startswith("#")
]
COMPARED_OF_CLIENTS: Final = frozenset(
    {"flags", "name", "db", "sub", "psub", "multi", "cmd", "user", "redir", "resp", "events"}
)
MEMBERS: Final = (
    ("COMMAND", "LIST"),
    ("COMMAND",),
    ("COMMAND", "INFO"),
    ("COMMAND", "LIST", "FILTERBY", "PATTERN", "p*"),
    ("COMMAND", "LIST", "FILTERBY", "ACLCAT", "fast"),
    ("ACL", "CAT", "connection"),
    ("ACL", "CAT", "PUBSUB"),
    ("ACL", "CAT", "dangerous"),
)
"""Their answers come in the order of a hash table."""


@dataclass(frozen=True)
class Both:
    ports: tuple[int, int]
    primary: int

    def answers(self, protocol: int, steps: list[bytes]) -> tuple[list[str], list[str]]:
        """Return what the genuine one and ours say, made alike."""
        found = []
        for port in self.ports:
            with WireConnection(port) as connection:
                if protocol == 3:
                    connection.exchange(encode("HELLO", "3"))
                found.append([_alike(reply) for reply in connection.exchange(b"".join(steps))])
        return found[0], found[1]


def _alike(reply: str) -> str:
    if " fd=" in reply:
        pairs = [word.partition("=") for word in reply.split()]
        return " ".join(
            f"{key}={value if key in COMPARED_OF_CLIENTS else '*'}" for key, _, value in pairs
        )
    # A link is not shown as lost while a new attempt is under way.
    reply = re.sub(r"(\$'id') :'\d+'", r"\1 <n>", reply.replace(",disconnected", ""))
    return re.sub(rf"(\$'(?:{'|'.join(VOLATILE)})') \$'\d+'", r"\1 <n>", reply)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    if reason := missing(Kind.REDIS):
        pytest.skip(reason)
    primary, replica, peer = free_port(), free_port(), free_port()
    genuine = Sentinel(Kind.REDIS, tmp_path_factory.mktemp("genuine"))
    genuine.start(
        [
            f"sentinel myid {ME}",
            f"sentinel monitor {NAME} {HOST} {primary} 2",
            # So that nobody finds anybody down while this runs, which would show in flags.
            f"sentinel down-after-milliseconds {NAME} 3600000",
            f"sentinel known-replica {NAME} {HOST} {replica}",
            f"sentinel known-sentinel {NAME} {HOST} {peer} {PEER}",
        ]
    )
    try:
        with face_in_thread(_mirror(primary, replica, peer), me=ME) as ours:
            ours.around.infos[NAME] = ((Millis(0), None), (Millis(0), None))
            yield Both((genuine.port, ours.port), primary)
    finally:
        genuine.kill()


def _mirror(primary: int, replica: int, peer: int) -> GroupView:
    view = group_view(NAME, Address(HOST, primary))
    settings = replace(view.settings, down_after=Millis(3_600_000))
    name = f"{HOST}:{replica}"
    return replace(
        view,
        settings=settings,
        replicas=(
            replace(
                instance_view(name, Address(HOST, replica), InstanceReport(), "slave"),
                flags=("slave", "disconnected"),
            ),
        ),
        peers=(
            replace(
                peer_view(Address(HOST, peer), PEER),
                flags=("sentinel", "disconnected"),
                voted_leader_epoch=Epoch(0),
            ),
        ),
        usable_sentinels=2,
        can_reach_quorum=True,
        can_authorize=True,
    )


@pytest.fixture(params=[2, 3], ids=["RESP2", "RESP3"])
def protocol(request: pytest.FixtureRequest) -> int:
    version: int = request.param
    return version


@pytest.mark.parametrize("line", LINES)
def test_a_conversation_is_the_genuine_one(both: Both, protocol: int, line: str) -> None:
    filled = line.replace("{name}", NAME).replace("{port}", str(both.primary))
    steps = [encode(*shlex.split(step)) for step in filled.split(" | ")]
    genuine, ours = both.answers(protocol, steps)
    assert ours == genuine


@pytest.mark.parametrize("words", MEMBERS, ids=" ".join)
def test_an_answer_without_order_has_the_genuine_members(
    both: Both, protocol: int, words: tuple[str, ...]
) -> None:
    answers = []
    for port in both.ports:
        with WireConnection(port) as connection:
            if protocol == 3:
                connection.exchange(encode("HELLO", "3"))
            [reply] = connection.read_all(encode(*words))
        answers.append(sorted(str(_ordered(child)) for child in reply.children))
    assert answers[1] == answers[0]


def _ordered(node: Value) -> Value:
    """Sort the rows of subcommands too."""
    children = [_ordered(child) for child in node.children]
    if all(child.children for child in children):
        children.sort(key=str)
    return replace(node, children=tuple(children))
