"""The same bytes to a genuine Redis 7.0 Sentinel and to ours, in the same state: the same replies.

Both watch one group and know each other, so that their views mirror each other. What must differ is
made equal before the comparison: see `wire_pair`.
"""

import re
import shlex
from collections.abc import Iterator
from typing import Final

import pytest

from kinds import OURS, Kind, missing_yardstick
from servers import Deployment
from wire_pair import Pair
from wire_reply import WireConnection, encode

pytestmark = [pytest.mark.compat, pytest.mark.xdist_group("wire")]

NAME: Final = "default-primary"
CASES: Final = (
    # The basics
    "PING",
    "ping",
    "PING hello",
    "PING a b",
    "ROLE",
    "ROLE extra",
    "HELLO",
    "HELLO 2",
    "HELLO 3",
    "HELLO 4",
    "HELLO three",
    "HELLO 3 SETNAME me | CLIENT GETNAME",
    "HELLO 3 SETNAME",
    "HELLO 3 AUTH default wrong",
    "HELLO 2 BOGUS",
    "AUTH secret",
    "AUTH default secret",
    "AUTH nobody secret",
    "AUTH a b c",
    "AUTH",
    # Unknown commands
    "QUIT",
    "RESET",
    "ECHO hi",
    "SELECT 0",
    "GET key",
    "CONFIG GET port",
    "MULTI",
    "UNKNOWN one 'two three' four",
    "'' x",
    f"{'x' * 200} {'y' * 200} z",
    f"LONG {' '.join(['argument'] * 40)}",
    # Sentinel, reading
    "SENTINEL",
    "SENTINEL BOGUS",
    "SENTINEL BOGUS one two",
    "SENTINEL HELP",
    "SENTINEL MASTERS",
    "sentinel masters",
    "SENTINEL MASTERS extra",
    "SENTINEL MASTER {name}",
    "SENTINEL MASTER unknown",
    "SENTINEL MASTER",
    "SENTINEL REPLICAS {name}",
    "SENTINEL SLAVES {name}",
    "SENTINEL REPLICAS unknown",
    "SENTINEL REPLICAS",
    "SENTINEL SENTINELS {name}",
    "SENTINEL SENTINELS unknown",
    "SENTINEL MYID",
    "SENTINEL MYID extra",
    "SENTINEL GET-MASTER-ADDR-BY-NAME {name}",
    "SENTINEL get-master-addr-by-name unknown",
    "SENTINEL GET-MASTER-ADDR-BY-NAME",
    "SENTINEL IS-MASTER-DOWN-BY-ADDR 127.0.0.1 {port} 0 *",
    "SENTINEL IS-MASTER-DOWN-BY-ADDR 127.0.0.1 1 0 *",
    "SENTINEL IS-MASTER-DOWN-BY-ADDR 127.0.0.1 port 0 *",
    "SENTINEL IS-MASTER-DOWN-BY-ADDR 127.0.0.1 {port} epoch *",
    "SENTINEL IS-MASTER-DOWN-BY-ADDR 127.0.0.1 {port}",
    f"SENTINEL IS-MASTER-DOWN-BY-ADDR 127.0.0.1 {{port}} 0 {'a' * 40}",
    f"SENTINEL IS-MASTER-DOWN-BY-ADDR 127.0.0.1 1 0 {'a' * 40}",
    "SENTINEL IS-MASTER-DOWN-BY-ADDR 127.0.0.1 {port} -1 *",
    "SENTINEL IS-MASTER-DOWN-BY-ADDR no.such.host.invalid {port} 0 *",
    "SENTINEL CKQUORUM {name}",
    "SENTINEL CKQUORUM unknown",
    "SENTINEL CKQUORUM",
    "SENTINEL PENDING-SCRIPTS",
    "SENTINEL PENDING-SCRIPTS extra",
    "SENTINEL INFO-CACHE unknown",
    "SENTINEL INFO-CACHE",
    "SENTINEL CONFIG GET *",
    "SENTINEL CONFIG GET announce*",
    "SENTINEL CONFIG GET nothing",
    "SENTINEL CONFIG GET",
    "SENTINEL CONFIG BOGUS x",
    "SENTINEL CONFIG",
    "SENTINEL DEBUG",
    "SENTINEL DEBUG bogus 1",
    "SENTINEL DEBUG info-period",
    "SENTINEL DEBUG info-period zero",
    "SENTINEL DEBUG info-period 0",
    "SENTINEL DEBUG ask-period 1000",
    "SENTINEL SIMULATE-FAILURE help",
    "SENTINEL SIMULATE-FAILURE bogus",
    "SENTINEL SIMULATE-FAILURE",
    # Sentinel, writing; each leaves the state as it found it
    "SENTINEL MONITOR m1 127.0.0.1 1 1 | SENTINEL REMOVE m1 | SENTINEL MASTER m1",
    "SENTINEL MONITOR {name} 127.0.0.1 1 1",
    "SENTINEL MONITOR m2 127.0.0.1 1 0",
    "SENTINEL MONITOR m2 127.0.0.1 1 x",
    "SENTINEL MONITOR m2 127.0.0.1 x 1",
    "SENTINEL MONITOR m2 127.0.0.1 70000 1",
    "SENTINEL MONITOR m2 no.such.host.invalid 1 1",
    "SENTINEL MONITOR m2 127.0.0.1 1",
    "SENTINEL MONITOR m5 127.0.0.1 1 1 | SENTINEL SET m5 auth-pass s | SENTINEL REMOVE m5",
    "SENTINEL MONITOR m6 127.0.0.1 1 1 | SENTINEL SET m6 quorum 3 | SENTINEL REMOVE m6",
    "SENTINEL MONITOR m7 127.0.0.1 1 2 | SENTINEL SLAVES m7 | SENTINEL REMOVE m7",
    "SENTINEL MONITOR m7 127.0.0.1 1 2 | SENTINEL SENTINELS m7 | SENTINEL REMOVE m7",
    "SENTINEL MONITOR m7 127.0.0.1 1 2 | SENTINEL CKQUORUM m7 | SENTINEL REMOVE m7",
    "SENTINEL MONITOR m8 127.0.0.1 1 1 | SENTINEL MONITOR m8 127.0.0.1 2 1 | SENTINEL REMOVE m8",
    "SENTINEL MONITOR m9 127.0.0.1 1 1 | SENTINEL SET m9 rename-command A b | SENTINEL REMOVE m9",
    "SENTINEL REMOVE unknown",
    "SENTINEL REMOVE",
    "SENTINEL MONITOR m3 127.0.0.1 1 1 | SENTINEL RESET m3* | SENTINEL REMOVE m3",
    "SENTINEL RESET nothing*",
    "SENTINEL RESET",
    "SENTINEL MONITOR m4 127.0.0.1 1 1 | SENTINEL FAILOVER m4 | SENTINEL REMOVE m4",
    "SENTINEL FAILOVER unknown",
    "SENTINEL FAILOVER",
    "SENTINEL SET {name} quorum 2 parallel-syncs 1",
    "SENTINEL SET {name} quorum 0",
    "SENTINEL SET {name} quorum x",
    "SENTINEL SET {name} down-after-milliseconds -1",
    "SENTINEL SET {name} failover-timeout 0",
    "SENTINEL SET {name} parallel-syncs 0",
    "SENTINEL SET {name} bogus 1",
    "SENTINEL SET {name} quorum",
    "SENTINEL SET {name}",
    "SENTINEL SET {name} quorum 2 bogus",
    "SENTINEL SET {name} rename-command SLAVEOF",
    "SENTINEL SET {name} notification-script /bin/true",
    "SENTINEL SET {name} client-reconfig-script /bin/true",
    "SENTINEL SET {name} master-reboot-down-after-period -1",
    "SENTINEL SET unknown quorum 2",
    "SENTINEL CONFIG SET announce-port 0",
    "SENTINEL CONFIG SET resolve-hostnames maybe",
    "SENTINEL CONFIG SET bogus 1",
    "SENTINEL CONFIG SET announce-port",
    "SENTINEL FLUSHCONFIG",
    "SENTINEL FLUSHCONFIG extra",
    # Publish and subscribe
    "SUBSCRIBE one two | PING | UNSUBSCRIBE one | UNSUBSCRIBE",
    "PSUBSCRIBE a* b? | SENTINEL MYID | PUNSUBSCRIBE",
    "SUBSCRIBE one one",
    "UNSUBSCRIBE",
    "UNSUBSCRIBE one two",
    "PUNSUBSCRIBE",
    "SUBSCRIBE",
    "SUBSCRIBE one | QUIT",
    "PUBLISH channel message",
    "PUBLISH __sentinel__:hello nonsense",
    "PUBLISH __sentinel__:hello 1,2,3,4,5,6,7,8",
    "PUBLISH one",
    "PUBLISH",
    "PSUBSCRIBE",
    "PUBSUB CHANNELS",
    # Clients
    "CLIENT SETNAME me | CLIENT GETNAME",
    "CLIENT SETNAME 'a b'",
    "CLIENT GETNAME",
    "CLIENT ID",
    "CLIENT INFO",
    "CLIENT LIST TYPE bogus",
    "CLIENT NO-EVICT on",
    "CLIENT NO-EVICT maybe",
    "CLIENT GETREDIR",
    "CLIENT TRACKINGINFO",
    "CLIENT KILL ID 99999999",
    "CLIENT KILL 127.0.0.1:1",
    "CLIENT KILL TYPE bogus",
    "CLIENT SETINFO lib-name x",
    "CLIENT BOGUS",
    "CLIENT",
    "CLIENT REPLY ON",
    "CLIENT REPLY SKIP | CLIENT ID | CLIENT GETNAME",
    "CLIENT REPLY OFF | CLIENT GETNAME | CLIENT REPLY ON",
    "CLIENT REPLY BOGUS",
    "CLIENT PAUSE 0",
    "CLIENT PAUSE long",
    "CLIENT UNPAUSE",
    "CLIENT UNBLOCK 99999999",
    "CLIENT CACHING yes",
    "CLIENT TRACKING on | CLIENT TRACKINGINFO | CLIENT TRACKING off",
    "CLIENT TRACKING maybe",
    "CLIENT KILL",
    "CLIENT KILL ID x",
    "CLIENT KILL ADDR 127.0.0.1:1 SKIPME maybe",
    "CLIENT KILL ADDR 127.0.0.1:1 LADDR 127.0.0.1:2 TYPE normal SKIPME yes",
    "CLIENT KILL USER nobody",
    "CLIENT LIST ID 99999999",
    "CLIENT LIST ID x",
    "CLIENT LIST BOGUS",
    "CLIENT HELP",
    # Commands about commands
    "COMMAND COUNT",
    "COMMAND BOGUS",
    "COMMAND INFO ping",
    "COMMAND INFO nothing",
    "COMMAND INFO sentinel|masters",
    "COMMAND GETKEYS PING",
    "COMMAND LIST FILTERBY PATTERN sub*",
    "COMMAND DOCS nothing",
    "COMMAND INFO subscribe publish",
    "COMMAND INFO CLIENT|KILL SENTINEL|SET",
    "COMMAND LIST BOGUS",
    "COMMAND LIST FILTERBY MODULE x",
    "COMMAND LIST FILTERBY ACLCAT bogus",
    "COMMAND GETKEYS",
    "COMMAND GETKEYS BOGUS",
    "COMMAND GETKEYSANDFLAGS PING",
    "COMMAND HELP",
    # Access control
    "ACL WHOAMI",
    "ACL USERS",
    "ACL LIST",
    "ACL GETUSER default",
    "ACL GETUSER nobody",
    "ACL DELUSER nobody",
    "ACL CAT bogus",
    "ACL DRYRUN default ping",
    "ACL LOAD",
    "ACL GENPASS 0",
    "ACL GENPASS 9999",
    "ACL GENPASS x",
    "ACL LOG RESET | ACL LOG",
    "ACL LOG x",
    "ACL DRYRUN default nothing",
    "ACL DRYRUN nobody ping",
    "ACL SAVE",
    "ACL HELP",
    "ACL BOGUS",
    "ACL",
    # The rest
    "SHUTDOWN BOGUS",
    "SHUTDOWN ABORT",
    "SHUTDOWN SAVE NOSAVE",
    "INFO replication",
    "INFO bogus",
    "INFO sentinel",
    "INFO SENTINEL sentinel",
    "INFO ''",
)

OWN_EVENT_CASES: Final = (
    "SUBSCRIBE +set | SENTINEL SET {name} quorum 2 | UNSUBSCRIBE",
    "PSUBSCRIBE +se? | SUBSCRIBE +set | SENTINEL SET {name} quorum 2",
)
USER_CASES: Final = (
    "ACL SETUSER eve on nopass +ping | ACL GETUSER eve | ACL DELUSER eve",
    "ACL SETUSER eve on nopass +ping | AUTH eve x | PING | ROLE | AUTH default x | ACL DELUSER eve",
    "ACL SETUSER bad bogus",
)
SETS: Final = ("COMMAND LIST", "ACL CAT", "ACL CAT dangerous", "ACL CAT sentinel")
"""Commands whose replies come in the order of a hash table: compared as sets."""

BYTES: Final = (
    b"PING\r\n",
    b"PING\n",
    b"  PING   inline  \r\n",
    b'PING "quoted \\x41\\n"\r\n',
    b"PING 'it''s'\r\n",
    b'PING "open\r\n',
    b"\r\n",
    b"\r\n\r\nPING\r\n",
    b"*0\r\n",
    b"*-1\r\n",
    b"*-10\r\n",
    b"*abc\r\n",
    b"*\r\n",
    b"*1\r\n:1\r\n",
    b"*1\r\n$abc\r\n",
    b"*1\r\n$-1\r\n",
    b"*1\r\nPING\r\n",
    b"*99999999999\r\n",
    b"*2147483648\r\n",
    b"*1\r\n$536870913\r\n",
    b"*1\r\n$99999999999999999999\r\n",
    b"*1\r\n$4\r\nPINGxx",
    b"$4\r\nPING\r\n",
    b"+OK\r\n",
    b"\xff\xfe\r\n",
    b"*" + b"1" * 300_000 + b"\r\n",
    b"x" * 300_000 + b"\r\n",
    b"*1\r\n$" + b"1" * 300_000 + b"\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST / HTTP/1.1\r\n\r\n",
    b"Host: x\r\n",
)
INFO_ARGUMENTS: Final = ("", "default", "all", "everything", "server", "clients stats", "cpu")


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    if reason := missing_yardstick():
        pytest.skip(reason)
    with Deployment(kinds=(Kind.REDIS, OURS), replicas=1, name=NAME) as deployment:
        genuine, ours = deployment.sentinels
        yield Pair(genuine, ours)


@pytest.fixture(params=[2, 3], ids=["RESP2", "RESP3"])
def protocol(request: pytest.FixtureRequest) -> int:
    version: int = request.param
    return version


@pytest.mark.parametrize("case", [*CASES, *USER_CASES])
def test_a_command_has_the_genuine_reply(pair: Pair, protocol: int, case: str) -> None:
    genuine, ours = pair.ask_both(protocol, steps_of(pair, case))
    assert ours == genuine


def steps_of(pair: Pair, case: str) -> list[bytes]:
    port = pair.genuine.primary_port(NAME)
    lines = case.replace("{name}", NAME).replace("{port}", str(port)).split(" | ")
    return [encode(*shlex.split(line)) for line in lines]


@pytest.mark.parametrize("case", OWN_EVENT_CASES)
def test_a_client_hears_of_its_own_deed(pair: Pair, protocol: int, case: str) -> None:
    # Redis 7.0 sends the event before the reply to its cause, Valkey 9.1 behind it.
    genuine, ours = pair.ask_both(protocol, steps_of(pair, case))
    assert sorted(ours) == sorted(genuine)


@pytest.mark.parametrize("case", SETS)
def test_a_command_has_the_genuine_members_in_its_reply(
    pair: Pair, protocol: int, case: str
) -> None:
    genuine, ours = pair.ask_both(protocol, [encode(*case.split())])
    members = [sorted(re.findall(r"'([^']*)'", reply[0])) for reply in (ours, genuine)]
    assert members[0] == members[1]


@pytest.mark.parametrize("sent", BYTES, ids=lambda sent: repr(sent[:24]))
def test_odd_bytes_have_the_genuine_reply(pair: Pair, protocol: int, sent: bytes) -> None:
    genuine, ours = pair.ask_both(protocol, [sent])
    assert ours == genuine


@pytest.mark.parametrize("argument", INFO_ARGUMENTS)
def test_info_has_the_genuine_sections_and_fields(pair: Pair, protocol: int, argument: str) -> None:
    genuine, ours = pair.ask_both(protocol, [encode("INFO", *argument.split())])
    names = [[line.split(":")[0] for line in reply[0].split(r"\r\n")] for reply in (ours, genuine)]
    assert names[0] == names[1]


def test_command_docs_name_the_genuine_commands(pair: Pair) -> None:
    answers = []
    for sentinel in (pair.genuine, pair.ours):
        with WireConnection(sentinel.port) as connection:
            [reply] = connection.read_all(encode("COMMAND", "DOCS"))
            answers.append({name.text for name in reply.children[::2]})
    assert answers[1] == answers[0]
