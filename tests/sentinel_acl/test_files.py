"""Users of a configuration and of an ACL file are those of a genuine Redis 7.0 Sentinel."""

import shlex
import stat
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from acl_pair import AclConnection, AclPair, alike
from kinds import OURS, Kind, missing_yardstick
from servers import Sentinel

pytestmark = pytest.mark.compat

ROOT: Final = "user root on nopass ~* &* +@all"
CONFIGURATIONS: Final = (
    ("user eve on >x +ping",),
    ("user eve on >x +ping", "user adam off (+info ~a) &b -@all +@fast"),
    ("user eve on nopass +@all -sentinel|failover",),
    ("user default on nopass ~* &* +@all",),
    ("user default on >x ~* &* +@all -shutdown",),
    ("user default off",),
    ("user default reset on nopass +@all ~*", "user eve on"),
    ("requirepass secret",),
    ("requirepass secret", "user eve on >x +@all"),
    ("requirepass secret", "user default on >other ~* &* +@all"),
    ("user default on >other ~* &* +@all", "requirepass secret"),
    ("acl-pubsub-default allchannels", "user eve on >x +@all", "user adam reset on"),
    ('user "eve" on ">a b" +@all',),
    ('user eve on ">a b" "(+ping ~a)"',),
    ("USER eve on >x",),
)
FILES: Final = (
    "",
    "user eve on >x +@all\n",
    "user eve on >x +@all\nuser adam off (+info ~a) &b\n\n  \n",
    "user default on >x +@all ~* &*\nuser eve\n",
    "user eve on  >x\t \n",
)
WRONG_FILES: Final = (
    "user eve on +nothing -nothing +@nothing +ping\n",
    "user eve on bad worse\nuser adam on\n",
    "user eve on\nuser eve off\n",
    "# a comment\n",
    "eve on\n",
    "user\n",
    "USER eve on\n",
    "user eve on <x\nuser adam #abc bad +nothing\nfoo\n",
    "user eve on ~* ~a\nuser adam &* &a +acl|cat|x\n",
    "user e\tve on\n",
)
STRANGE_PAIRS: Final = (
    ("requirepass secret", "user default on nopass ~* &* +@all\nuser eve on >y\n"),
    ("requirepass secret", "user eve on >y\n"),
)


@pytest.fixture(autouse=True)
def _needs_yardstick() -> None:
    if reason := missing_yardstick():
        pytest.skip(reason)


def started(stack: ExitStack, folder: Path, lines: list[str], users: str | None = None) -> AclPair:
    sentinels = []
    for number, kind in enumerate((Kind.REDIS, OURS)):
        sentinel = Sentinel(kind, folder / str(number))
        stack.callback(sentinel.kill)
        sentinel.folder.mkdir()
        if users is not None:
            (sentinel.folder / "users.acl").write_text(users)
            lines = [*(line for line in lines if not line.startswith("aclfile")),
                     f"aclfile {sentinel.folder}/users.acl"]  # fmt: skip
        sentinel.start(lines)
        sentinels.append(sentinel)
    return AclPair(*sentinels)


def told(sentinel: Sentinel, *commands: str, user: str = "root") -> list[str]:
    """Return what somebody is told."""
    with AclConnection(sentinel.port) as connection:
        connection.step("AUTH", user, "x")
        return [
            alike(str(reply)) for line in commands for reply in connection.step(*shlex.split(line))
        ]


@pytest.mark.parametrize("lines", CONFIGURATIONS, ids=" / ".join)
def test_users_of_a_configuration_are_the_genuine_ones(
    lines: tuple[str, ...], tmp_path: Path
) -> None:
    with ExitStack() as stack:
        pair = started(stack, tmp_path, [*lines, ROOT])
        asked = ("ACL LIST", "ACL GETUSER eve", "AUTH secret", "AUTH default x")
        assert told(pair.ours, *asked) == told(pair.genuine, *asked)


@pytest.mark.parametrize("lines", CONFIGURATIONS, ids=" / ".join)
def test_users_that_were_changed_are_written_so_that_both_read_them_back(
    lines: tuple[str, ...], tmp_path: Path
) -> None:
    with ExitStack() as stack:
        pair = started(stack, tmp_path, [*lines, ROOT])
        change = (
            "ACL SETUSER new on >hunter2 ~a&b resetchannels &c (+ping ~x) +@fast",
            "SENTINEL FLUSHCONFIG",
        )
        assert told(pair.ours, *change) == ["+'OK'", "+'OK'"]
        # Redis sets one more flag when it resets `default` before it reads its line.
        before = [reply.replace(" sanitize-payload", "") for reply in told(pair.ours, "ACL LIST")]
        text = pair.ours.conf.read_text()
        assert "hunter2" not in text
        assert stat.S_IMODE(pair.ours.conf.stat().st_mode) & 0o077 == (
            stat.S_IMODE(pair.genuine.conf.stat().st_mode) & 0o077
        )
        assert pair.ours.stop() == 0
        pair.ours.start()
        again = [reply.replace(" sanitize-payload", "") for reply in told(pair.ours, "ACL LIST")]
        assert again == before
        assert pair.ours.stop() == 0
        heir = Sentinel(Kind.REDIS, pair.ours.folder, pair.ours.port)
        stack.callback(heir.kill)
        heir.start()
        after = [reply.replace(" sanitize-payload", "") for reply in told(heir, "ACL LIST")]
        assert after == before


@pytest.mark.parametrize("users", FILES)
def test_users_of_a_file_are_the_genuine_ones(users: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        pair = started(stack, tmp_path, [], f"{users}\n{ROOT}\n")
        asked = (
            "ACL LIST", "ACL SETUSER new on >y (+ping) &a", "ACL SAVE", "ACL DELUSER new",
            "ACL SETUSER eve -@all", "ACL LOAD", "ACL WHOAMI",
        )  # fmt: skip
        assert told(pair.ours, *asked) == told(pair.genuine, *asked)
        assert told(pair.ours, "ACL LIST") == told(pair.genuine, "ACL LIST")
        files = [(each.folder / "users.acl").read_text() for each in (pair.ours, pair.genuine)]
        assert sorted(files[0].split()) == sorted(files[1].split())
        assert "user new" in files[0]


@pytest.mark.parametrize(("line", "users"), STRANGE_PAIRS)
def test_a_file_of_users_wins_over_a_password_as_ever(
    line: str, users: str, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        pair = started(stack, tmp_path, [line], f"{users}{ROOT}\n")
        asked = ("ACL LIST", "SENTINEL FLUSHCONFIG", "AUTH secret")
        assert told(pair.ours, *asked) == told(pair.genuine, *asked)
        assert "user " not in pair.ours.conf.read_text()


@pytest.mark.parametrize("users", WRONG_FILES)
def test_a_wrong_file_is_refused_with_the_genuine_words(users: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        pair = started(stack, tmp_path, [], f"{ROOT}\nuser old on\n")
        for sentinel in (pair.genuine, pair.ours):
            (sentinel.folder / "users.acl").write_text(users)
        asked = ("ACL LOAD", "ACL USERS", "ACL WHOAMI")
        assert told(pair.ours, *asked) == told(pair.genuine, *asked)


def test_a_file_that_is_gone_is_refused_with_the_genuine_words(tmp_path: Path) -> None:
    with ExitStack() as stack:
        pair = started(stack, tmp_path, [], f"{ROOT}\n")
        for sentinel in (pair.genuine, pair.ours):
            (sentinel.folder / "users.acl").unlink()
        assert told(pair.ours, "ACL LOAD") == told(pair.genuine, "ACL LOAD")
        assert told(pair.ours, "ACL SAVE", "ACL LOAD") == ["+'OK'", "+'OK'", "(closed)''"]
        file = pair.ours.folder / "users.acl"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert [path.name for path in pair.ours.folder.iterdir() if "everfly" in path.name] == []


def test_a_new_file_ends_the_connections_that_a_genuine_one_ends(tmp_path: Path) -> None:
    with ExitStack() as stack:
        pair = started(stack, tmp_path, [], f"{ROOT}\nuser eve on nopass +@all\n")
        answers = []
        for sentinel in (pair.genuine, pair.ours):
            people = {
                name: stack.enter_context(AclConnection(sentinel.port))
                for name in ("default", "eve", "root")
            }
            for name, connection in people.items():
                connection.step("AUTH", name, "x")
            steps = [people["root"].step("ACL", "LOAD")]
            steps += [connection.step("ACL", "WHOAMI") for connection in people.values()]
            answers.append([[str(reply) for reply in step] for step in steps])
        assert answers[1] == answers[0]


def test_a_disk_that_is_full_leaves_the_file_and_says_so(tmp_path: Path) -> None:
    with ExitStack() as stack:
        pair = started(stack, tmp_path, [], f"{ROOT}\n")
        file = pair.ours.folder / "users.acl"
        before = file.read_text()
        # A directory in the place of the file cannot be replaced, whoever we are.
        file.unlink()
        file.mkdir()
        [reply] = told(pair.ours, "ACL SAVE")
        assert reply.startswith("-'ERR There was an error trying to save the ACLs.")
        file.rmdir()
        file.write_text(before)
        assert told(pair.ours, "ACL SAVE") == ["+'OK'"]


def test_users_of_an_included_file_stay_in_that_file(tmp_path: Path) -> None:
    with ExitStack() as stack:
        included = tmp_path / "more.conf"
        included.write_text("user eve on >x +@all\n")
        sentinel = Sentinel(OURS, tmp_path / "ours")
        stack.callback(sentinel.kill)
        sentinel.start([f"include {included}", ROOT])
        assert told(sentinel, "SENTINEL FLUSHCONFIG") == ["+'OK'"]
        assert "user eve" not in sentinel.conf.read_text()
        assert sentinel.stop() == 0
        sentinel.start()
        assert told(sentinel, "ACL WHOAMI", user="eve") == ["$'eve'"]


@pytest.mark.parametrize(
    ("lines", "is_written"),
    [
        (["requirepass secret"], False),
        (["requirepass secret", "user default on >secret ~* &* +@all"], False),
        (["requirepass secret", "user default on >other ~* &* +@all"], True),
        (["requirepass secret", "user default on nopass ~* &* +@all"], True),
    ],
)
def test_a_password_that_stands_in_requirepass_has_no_second_copy(
    lines: list[str], is_written: bool, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        sentinel = Sentinel(OURS, tmp_path / "ours")
        stack.callback(sentinel.kill)
        sentinel.start([*lines, ROOT])
        assert told(sentinel, "SENTINEL FLUSHCONFIG") == ["+'OK'"]
        assert ("user default" in sentinel.conf.read_text()) is is_written
