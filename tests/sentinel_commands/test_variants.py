"""`--compat`: clients get the answers of the program that was chosen.

The yardstick for Valkey is the newest one; questions whose answers changed since Valkey 8 are not
asked of it.
"""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

import pytest
import redis

from acl_pair import AclConnection, alike, conversation
from kinds import HOST, Kind
from sentinel_variant import Variant

MONITOR: Final = "SENTINEL MONITOR m 127.0.0.1 1 1"
REMOVE: Final = "SENTINEL REMOVE m"
ANSWERS_OF_VALKEY: Final = (
    "COMMAND COUNT",
    "HELLO 2",
    "COMMAND HELP",
    # Settings of the whole Sentinel
    "SENTINEL CONFIG",
    "SENTINEL CONFIG GET",
    "SENTINEL CONFIG GET *",
    "SENTINEL CONFIG GET announce* log*",
    "SENTINEL CONFIG GET announce-ip announce* ANNOUNCE-IP",
    "SENTINEL CONFIG GET nothing none",
    "SENTINEL CONFIG BOGUS x",
    "SENTINEL CONFIG BOGUS x y z",
    "SENTINEL CONFIG SET",
    "SENTINEL CONFIG SET announce-port",
    "SENTINEL CONFIG SET bogus",
    "SENTINEL CONFIG SET announce-port 0 announce-ip",
    "SENTINEL CONFIG SET announce-port 0 bogus",
    "SENTINEL CONFIG SET announce-port 0 announce-port 1",
    "SENTINEL CONFIG SET announce-port 0 ANNOUNCE-PORT 1",
    "SENTINEL CONFIG SET bogus 1",
    "SENTINEL CONFIG SET bogus 1 announce-port x",
    "SENTINEL CONFIG SET announce-port x bogus 1",
    "SENTINEL CONFIG SET announce-port 99999",
    "SENTINEL CONFIG SET announce-port -1",
    "SENTINEL CONFIG SET loglevel x",
    (
        "SENTINEL CONFIG SET loglevel WARNING | SENTINEL CONFIG GET loglevel | SENTINEL CONFIG SET "
        "loglevel notice"
    ),
    "SENTINEL CONFIG SET resolve-hostnames maybe announce-port 0",
    "SENTINEL CONFIG SET announce-port 4 resolve-hostnames maybe | SENTINEL CONFIG GET announce-*",
    (
        "SENTINEL CONFIG SET announce-port 4 loglevel debug sentinel-user u | SENTINEL CONFIG GET *"
        " | SENTINEL CONFIG SET announce-port 0 loglevel notice sentinel-user ''"
    ),
    # Primaries
    f"SENTINEL PRIMARIES | {MONITOR} | SENTINEL PRIMARY m x | {REMOVE}",
    (
        f"{MONITOR} | SENTINEL GET-PRIMARY-ADDR-BY-NAME m | SENTINEL GET-MASTER-ADDR-BY-NAME m | "
        f"{REMOVE}"
    ),
    "SENTINEL GET-PRIMARY-ADDR-BY-NAME x",
    "SENTINEL GET-PRIMARY-ADDR-BY-NAME",
    "SENTINEL PRIMARY x",
    "SENTINEL PRIMARY",
    "SENTINEL PRIMARIES x",
    "SENTINEL IS-PRIMARY-DOWN-BY-ADDR 127.0.0.1 1 0 *",
    "SENTINEL IS-PRIMARY-DOWN-BY-ADDR 127.0.0.1 port 0 *",
    "SENTINEL IS-PRIMARY-DOWN-BY-ADDR",
    "SENTINEL FAILOVER x",
    "SENTINEL FAILOVER x COORDINATED",
    "SENTINEL FAILOVER x COORDINATED y",
    "SENTINEL FAILOVER",
    (
        f"{MONITOR} | SENTINEL SET m primary-reboot-down-after-period 100 | SENTINEL SET m "
        f"master-reboot-down-after-period 100 | {REMOVE}"
    ),
    f"{MONITOR} | SENTINEL SET m primary-reboot-down-after-period -1 | {REMOVE}",
    # Clients
    "CLIENT SETINFO LIB-NAME x",
    "CLIENT SETINFO lib-ver 1.2",
    "CLIENT SETINFO lib-name 'a b'",
    "CLIENT SETINFO LIB-VER 'a\n'",
    "CLIENT SETINFO bogus x",
    "CLIENT SETINFO lib-name",
    "CLIENT SETINFO lib-name ''",
    # Users
    "ACL SAVE",
    "ACL LOAD",
    "ACL SETUSER eve on nopass +ping | b: AUTH eve x | b: ROLE | b: PING | b: SENTINEL MASTERS",
    "ACL SETUSER eve on nopass +@all &a | b: AUTH eve x | b: SUBSCRIBE b | b: PUBLISH b x",
    "ACL SETUSER eve on | ACL DRYRUN eve ping | ACL DRYRUN eve subscribe x | ACL DRYRUN x ping",
    "ACL SETUSER eve on nopass +subscribe &a | ACL DRYRUN eve subscribe b",
    "ACL SETUSER eve (+ping (+role +info)",
)
RULES: Final = (
    *("", "+ping", "+ping +role -ping", "+@fast", "+@FAST -@fast", "+@all -ping", "-@all +@slow"),
    *("+acl|cat +acl", "+acl -acl|cat", "+acl -acl|cat +acl", "+ping|x", "+ping|x +ping|X +ping"),
    *("+ping|x -ping +ping|y", "+PING +Role", "+@slow +ping -@slow +@slow", "+ping -@all", "+@all"),
    *("(+ping +@fast -ping)", "+sentinel|primaries -sentinel|primary", "+client|setinfo", "+@nix"),
    *("+ping +@all -@admin +role", "-ping", "-ping -role +ping", "(-ping) +@all", "+@fast +@fast"),
)


ROWS: Final = (
    *("sentinel|primary", "sentinel|primaries"),
    *("sentinel|get-primary-addr-by-name", "sentinel|is-primary-down-by-addr", "sentinel|config"),
)
"""In RESP2: since Valkey 9 an empty list of subcommands is no set any more."""


@pytest.fixture(scope="module")
def variants(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Variant]]:
    folder = tmp_path_factory.mktemp("variants")
    with ExitStack() as stack:
        started = {}
        for name in ("redis-7.0", "redis-7.4", "valkey-8"):
            started[name] = Variant(folder / name, "--compat", name)
            stack.callback(started[name].child.kill)
        started["genuine"] = Variant(folder / "genuine", kind=Kind.VALKEY)
        stack.callback(started["genuine"].child.kill)
        yield started


@pytest.mark.compat
@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("text", ANSWERS_OF_VALKEY)
def test_an_answer_is_that_of_valkey(
    variants: dict[str, Variant], protocol: int, text: str
) -> None:
    ours, genuine = (
        [alike(reply) for reply in conversation(variants[name].port, protocol, text)]
        for name in ("valkey-8", "genuine")
    )
    assert ours == genuine


@pytest.mark.compat
@pytest.mark.parametrize("row", ROWS)
def test_a_row_of_the_table_is_that_of_valkey(variants: dict[str, Variant], row: str) -> None:
    asked = f"COMMAND INFO {row}"
    assert variants["valkey-8"].told(asked) == variants["genuine"].told(asked)


@pytest.mark.compat
@pytest.mark.parametrize("rules", RULES)
def test_rules_about_commands_are_shown_as_valkey_shows_them(
    variants: dict[str, Variant], rules: str
) -> None:
    # The flag went away in Valkey 9; that the databases are shown came with it.
    text = f"ACL SETUSER eve on >x {rules} | ACL LIST"
    ours, genuine = (
        [reply.replace(" sanitize-payload", "") for reply in conversation(each.port, 2, text)]
        for each in (variants["valkey-8"], variants["genuine"])
    )
    assert ours == genuine


@pytest.mark.parametrize(
    ("name", "commands", "version"),
    [("redis-7.0", 72, "7.0.15"), ("redis-7.4", 73, "7.4.1"), ("valkey-8", 77, "8.1.8")],
)
def test_each_program_has_its_number_of_commands_and_its_version(
    variants: dict[str, Variant], name: str, commands: int, version: str
) -> None:
    with AclConnection(variants[name].port) as connection:
        [listed] = connection.step("COMMAND", "LIST")
        assert len(listed.children) == commands
        assert str(connection.step("COMMAND", "COUNT")[0]) == ":'15'"
        [hello] = connection.step("HELLO", "3")
        assert hello.children[1].text == ("valkey" if name == "valkey-8" else "redis")
        assert hello.children[3].text == version


def test_info_has_the_names_of_each_program(variants: dict[str, Variant]) -> None:
    texts = {name: "".join(each.told("INFO")) for name, each in variants.items()}
    new = ("listener0:name=tcp,bind=127.0.0.1,port=", "watching_clients:", "eventloop_cycles:",
           "acl_access_denied_cmd:", "total_blocking_keys:")  # fmt: skip
    for name in ("redis-7.4", "valkey-8", "genuine"):
        assert [word for word in new if word not in texts[name]] == [], name
    assert [word for word in new if word in texts["redis-7.0"]] == []
    for name in ("valkey-8", "genuine"):
        for word in ("server_name:valkey", "redis_version:7.2.4", "server_mode:sentinel"):
            assert word in texts[name], name
        assert "redis_mode" not in texts[name]
    assert "valkey_version:8.1.8" in texts["valkey-8"]
    assert "redis_version:7.4.1" in texts["redis-7.4"]
    assert "redis_mode:sentinel" in texts["redis-7.4"]


def test_info_counts_what_was_refused(variants: dict[str, Variant]) -> None:
    subject = variants["redis-7.4"]
    before = denied(subject)
    subject.told("AUTH nobody x", "ACL SETUSER eve on nopass +subscribe")
    subject.told("AUTH eve x", "PING", "ROLE", "SUBSCRIBE a")
    subject.told("ACL DELUSER eve")
    after = denied(subject)
    assert {name: after[name] - before[name] for name in after} == {
        "auth": 1, "cmd": 2, "key": 0, "channel": 1
    }  # fmt: skip


def denied(subject: Variant) -> dict[str, int]:
    [text] = subject.told("INFO stats")
    return {name: int(count) for name, count in re.findall(r"acl_access_denied_(\w+):(\d+)", text)}


def test_redis_7_4_shows_one_more_flag_of_users_and_more_of_refusals(
    variants: dict[str, Variant],
) -> None:
    subject = variants["redis-7.4"]
    assert subject.told("ACL LIST") == ["*[$'user default on nopass sanitize-payload ~* &* +@all']"]
    subject.told("ACL LOG RESET")
    subject.told("AUTH nobody x")
    [log] = subject.told("ACL LOG")
    names = ["count", "reason", "context", "object", "username", "age-seconds", "client-info",
             "entry-id", "timestamp-created", "timestamp-last-updated"]  # fmt: skip
    places = [log.index(f"$'{name}'") for name in names]
    assert places == sorted(places)


def test_redis_7_4_ends_connections_by_their_age(variants: dict[str, Variant]) -> None:
    told = variants["redis-7.4"].told(
        "CLIENT KILL MAXAGE 1000000",
        "CLIENT KILL MAXAGE 0",
        "CLIENT KILL MAXAGE x",
        "CLIENT KILL ID 99999 99998",
        "CLIENT LIST MAXAGE 1",
    )
    assert told == [
        ":'0'",
        "-'ERR maxage should be greater than 0'",
        "-'ERR maxage is not an integer or out of range'",
        "-'ERR syntax error'",
        "-'ERR syntax error'",
    ]
    assert variants["redis-7.0"].told("CLIENT KILL MAXAGE 1000000") == ["-'ERR syntax error'"]


def test_redis_7_4_has_no_word_of_valkey(variants: dict[str, Variant]) -> None:
    told = variants["redis-7.4"].told(
        "SENTINEL PRIMARIES", "SENTINEL FAILOVER x COORDINATED", "SENTINEL HELP"
    )
    assert told[0] == "-\"ERR unknown subcommand 'PRIMARIES'. Try SENTINEL HELP.\""
    assert told[1] == "-\"ERR wrong number of arguments for 'sentinel|failover' command\""
    assert "primary" not in told[2]


def test_what_a_library_said_of_itself_is_shown(variants: dict[str, Variant]) -> None:
    told = variants["redis-7.4"].told(
        "CLIENT SETINFO LIB-NAME mylib", "CLIENT SETINFO LIB-VER 1.2.3", "CLIENT INFO"
    )
    assert told[2].endswith("lib-name=mylib lib-ver=1.2.3\\n'")


def test_a_change_of_the_log_level_is_written_down(variants: dict[str, Variant]) -> None:
    subject = variants["redis-7.4"]
    assert subject.told("SENTINEL CONFIG SET loglevel warning") == ["+'OK'"]
    assert "\nloglevel warning\n" in subject.conf.read_text()
    assert subject.told("SENTINEL CONFIG SET loglevel notice") == ["+'OK'"]
    assert "\nloglevel notice\n" in subject.conf.read_text()


def test_a_client_library_goes_on_when_redis_7_0_does_not_know_what_it_says(
    variants: dict[str, Variant],
) -> None:
    told = variants["redis-7.0"].told("CLIENT SETINFO LIB-NAME x")
    assert told == ["-\"ERR unknown subcommand 'SETINFO'. Try CLIENT HELP.\""]
    with redis.Redis(host=HOST, port=variants["redis-7.0"].port) as client:
        assert client.ping()
