"""Conversations about users have, byte for byte, the replies of a genuine Redis 7.0 Sentinel."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from acl_pair import AclPair
from kinds import OURS, Kind, missing_yardstick
from servers import Sentinel

pytestmark = [pytest.mark.compat, pytest.mark.xdist_group("wire-acl")]

HASH: Final = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
"""Of the password `x`."""

RULES: Final = (
    # Flags and passwords
    *("on", "off", "ON", "nopass", ">x", ">x >x", ">x >y", ">", f"#{HASH}", f"#{HASH} >x"),
    *(">x resetpass", ">x nopass", "nopass >x", ">x <x", f">x !{HASH}", ">x >y <x", "nopass <x"),
    *("<x", f"!{HASH}", "#abc", "!abc", f"#{HASH.upper()}", f"#{HASH}0", "on >x off"),
    *("sanitize-payload", "skip-sanitize-payload", "skip-sanitize-payload sanitize-payload"),
    *("reset", "on >x +@all allkeys reset", "reset on", "(+ping) reset", "''", "on '' >x"),
    # Keys and channels
    *("~a", "~a ~b", "~a ~a", "~*", "allkeys", "ALLKEYS", "~a ~*", "~* ~a", "allkeys ~a"),
    *("~* resetkeys", "~a resetkeys ~b", "'~a b'", "~", "%R~a", "%W~a", "%RW~a", "%WR~a"),
    *("%r~a %w~a", "%R~a ~b", "%~a", "%RR~a", "%X~a", "%R", "%", "%R~", "%R~a %R~a", "~* %R~a"),
    *("%R~*", "%RW~*", "%R~* ~x", "&a", "&a &b", "&a &a", "&*", "allchannels", "&a &*", "&* &a"),
    *("allchannels &a", "&a resetchannels", "&* resetchannels &b", "'&a b'", "&", "&a* &[bc]?"),
    # Commands
    *("+ping", "+PING", "+ping +role", "+ping -ping", "-ping", "+nothing", "-nothing", "+", "-"),
    *("+config", "+get", "+acl", "+acl|cat", "+ACL|Cat", "+acl -acl|cat", "-acl +acl|cat +ping"),
    *("+acl|", "+acl|nothing", "+acl|cat|x", "+ping|", "+ping|x", "+ping|x +ping|X +ping|y"),
    *("+ping|x +ping", "+ping|x -ping", "+ping +ping|x", "+ping +ping|x -ping", "+ping|x|y"),
    *("-ping|x", "-acl|cat", "+nothing|x", "+|x", "+sentinel|masters +sentinel|master", "+client"),
    *("+client -client|kill", "+sentinel -sentinel|failover", "+@all", "-@all", "allcommands"),
    *("nocommands", "ALLCOMMANDS", "+@ALL", "+@all -ping", "+@all -ping +ping", "+@all -@all"),
    *("+@all -@dangerous", "+@all -@admin", "+@all -acl", "+@all -acl +acl|whoami", "+@pubsub"),
    *("+@all -@slow", "+@all -@fast", "+@all -@connection -@pubsub", "+@all -ping -role -info"),
    *("+@fast", "+@slow", "+@admin", "+@dangerous", "+@connection", "+@read", "+@keyspace"),
    *("+@fast -ping", "+@slow -@admin", "+@slow -@dangerous", "+@admin +@pubsub", "+@scripting"),
    *("+@connection -client", "+@connection -client|kill", "+@fast +@slow", "+@Fast", "-@fast"),
    *("+@nothing", "-@nothing", "+@", "-@", "@fast", "+@all +ping|x", "+@all -ping +ping|x"),
    *("+@fast +sentinel|masters -acl|cat", "+@transaction", "+@blocking +@geo", "+@all +@read"),
    # Selectors
    *("(+ping)", "()", "(+ping ~a)", "(+ping) (+role)", "(%R~a +info) &b", "(+@all ~* &*)"),
    *(
        "(+ping &a &b)",
        "(+ping|x)",
        "(-@all)",
        "(allkeys allchannels allcommands)",
        "(+@all -ping)",
    ),
    *("(on)", "(>x)", "(reset)", "(nothing)", "(+nothing)", "(+ping", "(", "( +ping )", "+ping)"),
    *(
        "'(+ping ~a)'",
        "'(+ping (+role))'",
        "(+ping (+role))",
        "(+ping) clearselectors",
        "((+ping))",
    ),
    *("clearselectors", "(~a allkeys ~b)", "(&a allchannels &b)", "(+ping) nothing", ")", "()("),
    *("+ping (+role", "CLEARSELECTORS", "(+ping) ClearSelectors (+role)"),
    # Words that are no rules
    *("nothing", "true", "*", "on off maybe", "+ping nothing +role", "default", "~a +ping >x bad"),
)
"""What ACL SETUSER is told of one user."""

USED: Final = (
    "ACL SETUSER eve on nopass {rules} | b: AUTH eve any | b: PING | b: PING x | b: ROLE | b: INFO "
    "none | b: ACL WHOAMI | b: ACL CAT bogus | b: CLIENT ID x | b: SENTINEL MYID x | b: SENTINEL "
    "MASTERS | b: SUBSCRIBE one | ACL LOG"
)
USED_RULES: Final = (
    *("", "+ping", "+ping|x", "+ping|X -role", "+@all", "+@all -ping", "+@all -@dangerous"),
    *("+@fast", "+@slow", "+@admin", "+@connection", "+sentinel|masters", "+sentinel"),
    *("+sentinel -sentinel|masters", "+acl|whoami", "+acl -acl|cat", "+subscribe", "+@pubsub"),
    *("+subscribe &one", "+subscribe &two", "+subscribe &o*", "+@all resetchannels", "+@all &*"),
    *(
        "(+ping)",
        "(+ping|x) +role",
        "(+subscribe &one) +ping",
        "(+subscribe &two) +subscribe &thr*",
    ),
    *("+ping (+role) (+info)", "(+@all)", "(+@all &*)", "+@all (+subscribe &one)"),
)
"""What somebody can do with these rules."""

DRYRUNS: Final = (
    *("nobody ping", "eve nothing", "eve ping", "eve ping a", "eve PING", "eve ping a b c", "eve"),
    *("eve role", "eve role x", "eve info", "eve acl", "eve acl cat", "eve acl nothing"),
    *("eve sentinel masters", "eve sentinel master", "eve sentinel master x", "eve auth x"),
    *("eve hello", "eve subscribe a", "eve subscribe b", "eve subscribe a b", "eve psubscribe a"),
    *("eve psubscribe a*", "eve publish a x", "eve publish b x", "eve unsubscribe b", "eve client"),
    *("eve client id", "eve client kill x", "eve '' x", "root ping", "root subscribe b"),
    *("default shutdown", "eve command count", "eve ping nothing", "eve info x"),
)
REFUSED: Final = "b: AUTH a x | b: AUTH b x | b: AUTH a x | b: AUTH c x"
READ: Final = tuple(
    line.replace("REFUSED", REFUSED)
    for line in Path(__file__).with_name("conversations.txt").read_text().splitlines()
    if line and not line.startswith("#")
)
MANY_REFUSED: Final = " | ".join(f"b: AUTH u{number} x" for number in range(140))
"""More than the log keeps."""
TRIED: Final = (
    "ACL SETUSER eve on nopass +ping +acl|cat -info (+info|x) +@pubsub &a* | ACL DRYRUN {words}"
)
CONVERSATIONS: Final = (
    *(f"ACL SETUSER eve {rules} | ACL GETUSER eve | ACL LIST" for rules in RULES),
    *(USED.format(rules=rules) for rules in USED_RULES),
    *(TRIED.format(words=words) for words in DRYRUNS),
    *READ,
    f"{MANY_REFUSED} | ACL LOG 200",
)


def start_pair(stack: ExitStack, folder: Path, *lines: str) -> AclPair:
    sentinels = []
    for number, kind in enumerate((Kind.REDIS, OURS)):
        sentinel = Sentinel(kind, folder / str(number))
        stack.callback(sentinel.kill)
        sentinel.start(list(lines))
        sentinels.append(sentinel)
    return AclPair(*sentinels)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AclPair]:
    if reason := missing_yardstick():
        pytest.skip(reason)
    with ExitStack() as stack:
        yield start_pair(stack, tmp_path_factory.mktemp("acl"))


@pytest.fixture(scope="module")
def open_channels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AclPair]:
    if reason := missing_yardstick():
        pytest.skip(reason)
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp("channels")
        yield start_pair(stack, folder, "acl-pubsub-default allchannels", "acllog-max-len 3")


@pytest.fixture(params=[2, 3], ids=["RESP2", "RESP3"])
def protocol(request: pytest.FixtureRequest) -> int:
    version: int = request.param
    return version


@pytest.mark.parametrize("text", CONVERSATIONS)
def test_a_conversation_has_the_genuine_replies(pair: AclPair, protocol: int, text: str) -> None:
    genuine, ours = pair.converse(protocol, text)
    assert ours == genuine


@pytest.mark.parametrize(
    "text",
    [
        "ACL SETUSER eve | ACL LIST | ACL GETUSER eve",
        "ACL SETUSER eve (+ping) | ACL LIST",
        "ACL SETUSER eve resetchannels &a | ACL SETUSER eve reset | ACL LIST",
        "ACL SETUSER eve &a",
        "ACL SETUSER eve (&a)",
        f"{REFUSED} | b: AUTH d x | ACL LOG",
    ],
)
def test_new_users_may_hear_all_channels_where_the_file_says_so(
    open_channels: AclPair, protocol: int, text: str
) -> None:
    genuine, ours = open_channels.converse(protocol, text)
    assert ours == genuine


@pytest.mark.parametrize("category", ["fast", "slow", "admin", "dangerous", "connection", "pubsub"])
def test_a_category_has_the_genuine_members(pair: AclPair, category: str) -> None:
    genuine, ours = pair.converse(2, f"ACL CAT {category}")
    assert sorted(ours[0].strip("*[]").split()) == sorted(genuine[0].strip("*[]").split())
