"""SENTINEL SET, MONITOR and their like: what enters the core, what is refused."""

from pathlib import Path

import hiredis
import pytest

from everfly.core.inputs import (
    AnnouncementChanged,
    FailoverRequested,
    FailureSimulationRequested,
    FlushRequested,
    Input,
    MonitorRequested,
    PolicyChanged,
    RemoveRequested,
    ResetRequested,
    SettingsChanged,
)
from everfly.core.model import Address, GroupName
from everfly.sentinel.settings import GroupExtras, Settings
from resp_client import RespClient
from sentinel_face import face, group_view

VIEWS = (
    group_view("mymaster", Address("127.0.0.1", 6379)),
    group_view("other", Address("127.0.0.1", 6380)),
)
NAME = GroupName("mymaster")


def text_of(reply: object) -> str:
    assert isinstance(reply, hiredis.ReplyError), reply
    return str(reply)


def told(fact: Input) -> tuple[tuple[str, str], ...]:
    assert isinstance(fact, SettingsChanged)
    return fact.changes


async def test_set_enters_all_options_at_once_and_tells_them_as_given() -> None:
    async with face(*VIEWS) as port, await RespClient.open(port.port) as client:
        reply = await client.ask(
            *("SENTINEL", "SET", "mymaster", "Quorum", 3, "down-after-milliseconds", 5000),
            *("parallel-syncs", 2, "failover-timeout", 9000, "master-reboot-down-after-period", 7),
        )
        assert reply == b"OK"
        [fact] = port.brain.inputs
        assert isinstance(fact, SettingsChanged)
        settings = fact.settings
        assert (settings.quorum, settings.down_after, settings.parallel_syncs) == (3, 5000, 2)
        assert (settings.failover_timeout, settings.reboot_down_after) == (9000, 7)
        assert told(fact)[0] == ("Quorum", "3")
        assert not fact.drops_links


async def test_set_keeps_what_stands_before_a_wrong_option() -> None:
    async with face(*VIEWS) as port, await RespClient.open(port.port) as client:
        reply = await client.ask(
            "SENTINEL", "SET", "mymaster", "quorum", 5, "parallel-syncs", 0, "quorum", 7
        )
        assert text_of(reply) == "ERR Invalid argument '0' for SENTINEL SET 'parallel-syncs'"
        [fact] = port.brain.inputs
        assert told(fact) == (("quorum", "5"),)


async def test_a_secret_is_masked_where_it_is_told_and_drops_links() -> None:
    async with face(*VIEWS) as port, await RespClient.open(port.port) as client:
        reply = await client.ask(
            "SENTINEL", "SET", "mymaster", "auth-user", "me", "auth-pass", "s3cret"
        )
        assert reply == b"OK"
        [fact] = port.brain.inputs
        assert isinstance(fact, SettingsChanged)
        assert told(fact) == (("auth-user", "me"), ("auth-pass", "******"))
        assert fact.drops_links
        extras = port.settings.group(NAME)
        assert (extras.auth_user, extras.auth_pass) == ("me", "s3cret")
        assert "s3cret" not in repr(port.settings)
        assert await client.ask("SENTINEL", "SET", "mymaster", "auth-pass", "") == b"OK"
        assert port.settings.group(NAME).auth_pass == ""


async def test_a_renamed_command_is_kept_until_it_gets_its_own_name_back() -> None:
    async with face(*VIEWS) as port, await RespClient.open(port.port) as client:
        set_ = ("SENTINEL", "SET", "mymaster", "rename-command", "config")
        assert await client.ask(*set_, "guess-it") == b"OK"
        assert port.settings.group(NAME).command_name("CONFIG") == "guess-it"
        assert told(port.brain.inputs[-1]) == (("rename-command", "config guess-it"),)
        assert await client.ask(*set_, "CONFIG") == b"OK"
        assert port.settings.group(NAME).renamed_commands == {}


async def test_scripts_are_denied_unless_the_file_allows_them() -> None:
    words = ("SENTINEL", "SET", "mymaster", "notification-script", "/bin/true")
    async with face(*VIEWS) as port, await RespClient.open(port.port) as client:
        assert text_of(await client.ask(*words)).startswith("ERR Reconfiguration of scripts path")
        assert port.brain.inputs == []


async def test_an_allowed_script_must_be_executable(tmp_path: Path) -> None:
    script = tmp_path / "script.sh"
    script.write_text("#!/bin/sh\n")
    settings = Settings(deny_scripts_reconfig=False)
    async with face(*VIEWS, settings=settings) as port, await RespClient.open(port.port) as client:
        for option, text in (
            ("notification-script", "ERR Notification script seems non existing"),
            ("client-reconfig-script", "ERR Client reconfiguration script seems non existing"),
        ):
            words = ("SENTINEL", "SET", "mymaster", option, str(script))
            script.chmod(0o600)
            assert text_of(await client.ask(*words)).startswith(text)
            script.chmod(0o700)
            assert await client.ask(*words) == b"OK"
            reply = await client.ask("SENTINEL", "MASTER", "mymaster")
            assert isinstance(reply, list)
            fields = dict(zip(reply[::2], reply[1::2], strict=True))
            assert fields[option.encode()] == str(script).encode()
            assert await client.ask("SENTINEL", "SET", "mymaster", option, "") == b"OK"
        assert port.settings.group(NAME) == GroupExtras()


@pytest.mark.parametrize("value", [b"a\nb", b"a\0b", b"\xff\xfe", b"a\x7f"])
@pytest.mark.parametrize("option", ["auth-pass", "auth-user", "rename-command"])
async def test_a_value_that_could_break_the_file_is_refused(option: str, value: bytes) -> None:
    async with face(*VIEWS) as port, await RespClient.open(port.port) as client:
        values = (value, value) if option == "rename-command" else (value,)
        reply = await client.ask("SENTINEL", "SET", "mymaster", option, *values)
        assert text_of(reply).startswith("ERR Invalid argument ")
        assert port.brain.inputs == []
        assert port.settings.group(NAME) == GroupExtras()


@pytest.mark.parametrize(
    "name", [b"x\nrequirepass pwned", b"", b"a,b", b"\xff", b"x" * 256, b"a\tb"]
)
async def test_a_name_that_could_break_file_or_hello_is_refused(name: bytes) -> None:
    async with face(*VIEWS) as port, await RespClient.open(port.port) as client:
        reply = await client.ask("SENTINEL", "MONITOR", name, "127.0.0.1", 6390, 2)
        assert text_of(reply).startswith("ERR Invalid master name")
        assert port.brain.inputs == []


async def test_monitor_enters_the_place_and_the_defaults_of_now() -> None:
    async with face(*VIEWS) as port, await RespClient.open(port.port) as client:
        assert await client.ask("SENTINEL", "DEBUG", "default-down-after", 7000) == b"OK"
        port.settings.group_for_change(GroupName("a b")).auth_pass = "of a former group"
        assert await client.ask("SENTINEL", "MONITOR", "a b", "::1", 6390, 4) == b"OK"
        fact = port.brain.inputs[-1]
        assert isinstance(fact, MonitorRequested)
        assert (fact.group, str(fact.primary)) == ("a b", "[::1]:6390")
        assert (fact.settings.quorum, fact.settings.down_after) == (4, 7000)
        assert port.settings.group(GroupName("a b")) == GroupExtras()


async def test_monitor_takes_a_name_only_where_names_are_resolved() -> None:
    words = ("SENTINEL", "MONITOR", "third", "db.example", 6390, 1)
    async with face(*VIEWS) as port, await RespClient.open(port.port) as client:
        port.around.names["db.example"] = "192.0.2.7"
        assert text_of(await client.ask(*words)) == "ERR Invalid IP address or hostname specified"
        assert await client.ask("SENTINEL", "CONFIG", "SET", "resolve-hostnames", "yes") == b"OK"
        assert await client.ask(*words) == b"OK"
        fact = port.brain.inputs[-1]
        assert isinstance(fact, MonitorRequested)
        assert (fact.primary.host, fact.primary.ip) == ("db.example", "192.0.2.7")
        where = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "third")
        assert await client.ask(*where) == [b"192.0.2.7", b"6390"]
        assert await client.ask("SENTINEL", "CONFIG", "SET", "announce-hostnames", "yes") == b"OK"
        assert await client.ask(*where) == [b"db.example", b"6390"]
        unknown = ("SENTINEL", "MONITOR", "fourth", "no.example", 6390, 1)
        assert text_of(await client.ask(*unknown)).startswith("ERR Invalid IP address")


async def test_remove_forgets_the_settings_of_a_group() -> None:
    async with face(*VIEWS) as port, await RespClient.open(port.port) as client:
        await client.ask("SENTINEL", "SET", "mymaster", "auth-pass", "s3cret")
        assert await client.ask("SENTINEL", "REMOVE", "mymaster") == b"OK"
        assert isinstance(port.brain.inputs[-1], RemoveRequested)
        assert port.settings.groups == {}
        assert await client.ask("ROLE") == [b"sentinel", [b"other"]]


async def test_reset_names_the_groups_of_a_pattern() -> None:
    async with face(*VIEWS) as port, await RespClient.open(port.port) as client:
        assert await client.ask("SENTINEL", "RESET", "*[mo]*er") == 2
        assert await client.ask("SENTINEL", "RESET", "MY*") == 0
        [fact] = port.brain.inputs
        assert isinstance(fact, ResetRequested)
        assert fact.groups == ("mymaster", "other")


async def test_a_switchover_enters_as_a_failover_that_must_hand_over() -> None:
    async with face(*VIEWS) as port, await RespClient.open(port.port) as client:
        await client.ask("SENTINEL", "SWITCHOVER", "mymaster")
        await client.ask("SENTINEL", "switchover", "mymaster", "127.0.0.1", 6381)
        best, given = port.brain.inputs
        assert isinstance(best, FailoverRequested)
        assert isinstance(given, FailoverRequested)
        assert best.is_switchover
        assert best.to is None
        assert given.to == Address("127.0.0.1", 6381)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("mymaster", "127.0.0.1"), "takes a name, or a name, a host and a port"),
        (("mymaster", "127.0.0.1", "0"), "Invalid port"),
        (("mymaster", "127.0.0.1", "x"), "Invalid port"),
        (("mymaster", "127.0.0.1\n", "6381"), "Invalid IP address or hostname"),
    ],
)
async def test_a_switchover_to_nowhere_is_refused(words: tuple[str, ...], error: str) -> None:
    async with face(*VIEWS) as port, await RespClient.open(port.port) as client:
        assert error in text_of(await client.ask("SENTINEL", "SWITCHOVER", *words))
        assert port.brain.inputs == []


async def test_who_may_not_fail_over_may_not_switch_over_and_nobody_sees_it_listed() -> None:
    async with face(*VIEWS) as port, await RespClient.open(port.port) as client:
        listed = await client.ask("COMMAND", "LIST")
        assert b"sentinel|failover" in listed
        assert b"sentinel|switchover" not in listed
        assert (
            await client.ask(
                "ACL", "SETUSER", "reader", "on", "nopass", "+@all", "-sentinel|failover"
            )
            == b"OK"
        )
        assert await client.ask("AUTH", "reader", "") == b"OK"
        refusal = text_of(await client.ask("SENTINEL", "SWITCHOVER", "mymaster"))
        assert refusal.startswith("NOPERM")


async def test_config_set_enters_what_peers_are_to_be_told() -> None:
    async with face(*VIEWS) as port, await RespClient.open(port.port) as client:
        for option, value, drops in (
            ("announce-ip", "192.0.2.1", False),
            ("announce-port", "7000", False),
            ("sentinel-pass", "s3cret", True),
            ("sentinel-user", "me", True),
        ):
            assert await client.ask("SENTINEL", "CONFIG", "SET", option, value) == b"OK"
            fact = port.brain.inputs[-1]
            assert isinstance(fact, AnnouncementChanged)
            assert fact.drops_peer_links is drops
        assert (fact.announce_host, fact.announce_port) == ("192.0.2.1", 7000)
        assert port.settings.peer_credentials() == ("me", "s3cret")


@pytest.mark.parametrize("value", ["a b", "a,b", "x" * 256, "a\nb"])
async def test_an_address_that_no_hello_can_carry_is_not_announced(value: str) -> None:
    async with face(*VIEWS) as port, await RespClient.open(port.port) as client:
        reply = await client.ask("SENTINEL", "CONFIG", "SET", "announce-ip", value)
        assert text_of(reply).startswith("ERR Invalid value ")
        assert port.settings.announce_ip == ""
        assert port.brain.inputs == []


async def test_debug_changes_the_fields_before_a_wrong_one() -> None:
    async with face(*VIEWS) as port, await RespClient.open(port.port) as client:
        reply = await client.ask("SENTINEL", "DEBUG", "ASK-period", 7, "tilt-period", "x")
        assert text_of(reply) == "ERR Invalid argument 'x' for SENTINEL DEBUG 'tilt-period'"
        [fact] = port.brain.inputs
        assert isinstance(fact, PolicyChanged)
        assert fact.changes == (("ask_period", 7),)
        assert await client.ask("SENTINEL", "DEBUG", "SLAVE-RECONF-TIMEOUT", 8) == b"OK"
        reply = await client.ask("SENTINEL", "DEBUG")
        assert isinstance(reply, list)
        assert dict(zip(reply[::2], reply[1::2], strict=True))[b"SLAVE-RECONF-TIMEOUT"] == b"8"


async def test_a_simulated_failure_replaces_the_one_before() -> None:
    async with face(*VIEWS) as port, await RespClient.open(port.port) as client:
        simulate = ("SENTINEL", "SIMULATE-FAILURE")
        assert await client.ask(*simulate, "crash-after-election") == b"OK"
        assert await client.ask(*simulate, "crash-after-promotion") == b"OK"
        facts = [
            (fact.crash_after_election, fact.crash_after_promotion)
            for fact in port.brain.inputs
            if isinstance(fact, FailureSimulationRequested)
        ]
        assert facts == [(True, False), (False, True)]


@pytest.mark.parametrize(
    "words",
    [
        ("FLUSHCONFIG",),
        ("SET", "mymaster", "quorum", "2"),
        ("MONITOR", "third", "127.0.0.1", "1", "1"),
        ("REMOVE", "mymaster"),
        ("CONFIG", "SET", "announce-port", "1"),
        ("IS-MASTER-DOWN-BY-ADDR", "127.0.0.1", "6379", "1", "a" * 40),
    ],
)
async def test_what_could_not_be_saved_is_an_error(words: tuple[str, ...]) -> None:
    async with face(*VIEWS) as port, await RespClient.open(port.port) as client:
        port.brain.disk_is_full = True
        reply = await client.ask("SENTINEL", *words)
        assert text_of(reply) == "ERR Failed to save config file. Check server logs."
        assert len(port.brain.inputs) == 1


async def test_two_changes_at_once_do_not_undo_each_other() -> None:
    async with (
        face(*VIEWS) as port,
        await RespClient.open(port.port) as one,
        await RespClient.open(port.port) as two,
    ):
        one.send("SENTINEL", "SET", "mymaster", "quorum", 9)
        two.send("SENTINEL", "SET", "mymaster", "parallel-syncs", 8)
        assert [await one.receive(), await two.receive()] == [b"OK", b"OK"]
        settings = port.brain.views[NAME].settings
        assert (settings.quorum, settings.parallel_syncs) == (9, 8)


async def test_a_client_sees_its_own_change_in_its_next_command() -> None:
    async with face(*VIEWS) as port, await RespClient.open(port.port) as client:
        client.send("SENTINEL", "SET", "mymaster", "quorum", 9)
        client.send("SENTINEL", "MASTER", "mymaster")
        assert await client.receive() == b"OK"
        reply = await client.receive()
        assert isinstance(reply, list)
        assert dict(zip(reply[::2], reply[1::2], strict=True))[b"quorum"] == b"9"
        await client.ask("SENTINEL", "FLUSHCONFIG")
        assert isinstance(port.brain.inputs[-1], FlushRequested)
