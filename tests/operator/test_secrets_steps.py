"""An instance is brought to what Secrets hold, and how it is now is asked of it."""

import asyncio
from pathlib import Path

import hiredis
import pytest
from secrets_stage import Double, double

from everfly.core.model import Address
from everfly.errors import RemoteError, SettingsError
from everfly.operator.chores.secrets_steps import (
    LOADS_MAX,
    LOADS_S,
    RELOADS_S,
    Goal,
    Moment,
    Seat,
    settle_certificate,
    settle_client_ca,
    settle_password,
    settle_users,
)
from everfly.operator.secrets.acl import users_of_file
from everfly.operator.secrets.tls import check_authorities, check_pair, leaf_of, served_certificate
from processes import Connection, free_port
from tls_files import Authority, Pair, TlsConnection, ask_tls

AT_FIRST = Moment(0.0, has_changed=False)
CHANGED = Moment(0.0, has_changed=True)


def lets_in(instance: Double, *words: str) -> bool:
    with Connection(instance.port) as connection:
        try:
            return connection.call("AUTH", *words) == b"OK"
        except hiredis.ReplyError:
            return False


async def test_a_new_password_is_needed_at_once_and_whoever_is_connected_stays(
    tmp_path: Path,
) -> None:
    with double(tmp_path, password="old") as instance, Connection(instance.port) as client:
        client.call("AUTH", "old")
        seat = Seat(0.0)
        assert await settle_password(instance.member, Goal(b"new"), AT_FIRST, seat)
        assert seat.has_acted
        assert client.call("SET", "key", "value") == b"OK"
        assert lets_in(instance, "new")
        assert not lets_in(instance, "old")
        assert instance.admin("CONFIG", "GET", "requirepass") == [b"requirepass", b"new"]


async def test_an_instance_that_has_the_password_is_told_nothing(tmp_path: Path) -> None:
    with double(tmp_path, password="same") as instance:
        seat = Seat(0.0)
        assert await settle_password(instance.member, Goal(b"same"), CHANGED, seat)
        assert not seat.has_acted


async def test_a_password_of_strange_letters_is_taken_as_it_is(tmp_path: Path) -> None:
    strange = "pä ss\n>\"'"
    with double(tmp_path, password="old") as instance:
        goal = Goal(strange.encode())
        assert await settle_password(instance.member, goal, CHANGED, Seat(0.0))
        assert lets_in(instance, strange)


def write(file: Path, text: str) -> bytes:
    file.write_text(text)
    return text.encode()


SHOP = "USER shop ON >one ~* &* +@all\n"
OTHER = "USER shop ON >two ~* &* +@all\n"


async def test_users_are_read_again_once_the_copy_of_the_file_is_the_new_one(
    tmp_path: Path,
) -> None:
    file = tmp_path / "acl"
    write(file, SHOP)
    with double(tmp_path, f"--aclfile={file}", password="pass") as instance:
        goal = Goal(b"pass", users_of_file(OTHER.encode()), is_file_of_users=True)
        seat = Seat(0.0)
        # The platform has not renewed the copy yet.
        assert not await settle_users(instance.member, goal, CHANGED, seat)
        assert not seat.has_acted
        late = Moment(LOADS_S[0], has_changed=True)
        assert not await settle_users(instance.member, goal, late, seat)
        assert seat.next_at == LOADS_S[1]
        assert lets_in(instance, "shop", "one")
        write(file, OTHER)
        later = Moment(LOADS_S[1], has_changed=True)
        assert await settle_users(instance.member, goal, later, seat)
        assert lets_in(instance, "shop", "two")
        assert not lets_in(instance, "shop", "one")


async def test_other_rules_of_known_users_are_read_again_too(tmp_path: Path) -> None:
    file = tmp_path / "acl"
    write(file, SHOP)
    with double(tmp_path, f"--aclfile={file}", password="pass") as instance:
        poorer = SHOP.replace("+@all", "+get")
        goal = Goal(b"pass", users_of_file(poorer.encode()), is_file_of_users=True)
        seat = Seat(0.0)
        due = Moment(LOADS_S[0], has_changed=True)
        assert not await settle_users(instance.member, goal, due, seat)
        write(file, poorer)
        due = Moment(LOADS_S[1], has_changed=True)
        assert await settle_users(instance.member, goal, due, seat)
        assert "+get" in str(instance.admin("ACL", "LIST"))


async def test_a_file_that_never_becomes_the_wanted_one_is_left_at_that_and_told(
    tmp_path: Path,
) -> None:
    file = tmp_path / "acl"
    write(file, SHOP)
    with double(tmp_path, f"--aclfile={file}", password="pass") as instance:
        goal = Goal(b"pass", users_of_file(OTHER.encode()), is_file_of_users=True)
        seat = Seat(0.0)
        readings = 0
        is_done = False
        while not is_done:
            due = Moment(seat.next_at or LOADS_S[0], has_changed=True)
            is_done = await settle_users(instance.member, goal, due, seat)
            readings += 1
        assert readings == LOADS_MAX
        assert "lists other users" in seat.note


async def test_reading_users_opens_no_door_for_the_default_user(tmp_path: Path) -> None:
    file = tmp_path / "acl"
    write(file, SHOP)
    with double(tmp_path, f"--aclfile={file}", password="pass") as instance:
        goal = Goal(b"pass", users_of_file(write(file, OTHER)), is_file_of_users=True)
        due = Moment(LOADS_S[0], has_changed=True)
        assert await settle_users(instance.member, goal, due, Seat(0.0))
        with Connection(instance.port) as client:
            with pytest.raises(hiredis.ReplyError, match="NOAUTH"):
                client.call("GET", "key")
            assert client.call("AUTH", "pass") == b"OK"


async def test_a_file_that_an_instance_refuses_changes_nobody(tmp_path: Path) -> None:
    file = tmp_path / "acl"
    write(file, SHOP)
    with double(tmp_path, f"--aclfile={file}", password="pass") as instance:
        write(file, SHOP + "USER broken ON dont-tell-anybody\n")
        goal = Goal(b"pass", users_of_file(OTHER.encode()), is_file_of_users=True)
        due = Moment(LOADS_S[0], has_changed=True)
        with pytest.raises(RemoteError, match="refuses its file of users") as caught:
            await settle_users(instance.member, goal, due, Seat(0.0))
        assert "tell-anybody" not in str(caught.value).lower()
        assert lets_in(instance, "shop", "one")
        assert lets_in(instance, "pass")


async def test_users_whom_people_added_are_left_until_the_secret_changes(tmp_path: Path) -> None:
    file = tmp_path / "acl"
    goal = Goal(None, users_of_file(write(file, SHOP)), is_file_of_users=True)
    with double(tmp_path, f"--aclfile={file}", password="pass") as instance:
        instance.admin("ACL", "SETUSER", "guest", "ON", ">g", "~*", "+@all")
        seat = Seat(0.0)
        assert await settle_users(instance.member, goal, AT_FIRST, seat)
        assert "does not name" in seat.note
        assert lets_in(instance, "guest", "g")
        due = Moment(LOADS_S[0], has_changed=True)
        assert await settle_users(instance.member, goal, due, Seat(0.0))
        assert not lets_in(instance, "guest", "g")


async def test_a_door_that_stood_open_before_us_is_told_and_not_shut_on_anybody(
    tmp_path: Path,
) -> None:
    file = tmp_path / "acl"
    goal = Goal(b"pass", users_of_file(write(file, SHOP)), is_file_of_users=True)
    with double(tmp_path, f"--aclfile={file}") as instance:
        seat = Seat(0.0)
        assert await settle_password(instance.member, goal, AT_FIRST, seat)
        assert "lets in anybody" in seat.note
        assert not seat.has_acted


async def test_a_file_that_names_default_has_the_last_word_over_the_password(
    tmp_path: Path,
) -> None:
    file = tmp_path / "acl"
    users = users_of_file(write(file, f"USER default ON >mine ~* &* +@all\n{SHOP}"))
    with double(tmp_path, f"--aclfile={file}") as instance:
        unknown = Goal(b"pass", None, is_file_of_users=True)
        assert not await settle_password(instance.member, unknown, CHANGED, Seat(0.0))
        goal = Goal(b"pass", users, is_file_of_users=True)
        assert await settle_password(instance.member, goal, CHANGED, Seat(0.0))
        assert lets_in(instance, "mine")
        assert not lets_in(instance, "pass")


def tls_flags(pair: Pair, ca: Path | None = None) -> list[str]:
    flags = ["--tls", f"--tls_cert_file={pair.cert}", f"--tls_key_file={pair.key}"]
    return [*flags, *([f"--tls_ca_cert_file={ca}"] if ca else [])]


def renew(old: Pair, new: Pair) -> None:
    old.cert.write_bytes(new.cert.read_bytes())
    old.key.write_bytes(new.key.read_bytes())


async def test_a_new_certificate_is_served_and_whoever_is_connected_stays(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    old, new = authority.issue("old"), authority.issue("new")
    with double(tmp_path, *tls_flags(old)) as instance:
        before = await asyncio.to_thread(TlsConnection, instance.port, authority.context())
        leaf = leaf_of(new.cert.read_bytes())
        goal = Goal(certificate=leaf, data_port=instance.port)
        seat = Seat(0.0)
        # The copy of the file is still the old one.
        assert not await settle_certificate(instance.member, goal, CHANGED, seat)
        assert seat.next_at is not None
        renew(old, new)
        later = Moment(seat.next_at, has_changed=True)
        assert await settle_certificate(instance.member, goal, later, seat)
        assert await served_certificate(Address("127.0.0.1", instance.port)) == leaf
        assert before.call("SET", "key", "value") == b"OK"
        before.close()


async def test_a_damaged_pair_leaves_the_old_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    old, new = authority.issue("old"), authority.issue("new")
    was = leaf_of(old.cert.read_bytes())
    with double(tmp_path, *tls_flags(old)) as instance:
        old.cert.write_bytes(new.cert.read_bytes())
        goal = Goal(certificate=leaf_of(new.cert.read_bytes()), data_port=instance.port)
        with pytest.raises(RemoteError, match="refuses its certificate files"):
            await settle_certificate(instance.member, goal, CHANGED, Seat(0.0))
        assert await served_certificate(Address("127.0.0.1", instance.port)) == was


async def test_a_new_authority_of_clients_is_read_several_times_after_a_change(
    tmp_path: Path,
) -> None:
    first, second = Authority(tmp_path / "first"), Authority(tmp_path / "second")
    ca = tmp_path / "ca.crt"
    ca.write_bytes(first.ca.read_bytes())
    mine = second.issue("client")
    with double(tmp_path, *tls_flags(first.issue("cache"), ca)) as instance:
        context = first.context(mine)
        with pytest.raises((OSError, hiredis.ProtocolError)):
            ask_tls(instance.port, context, "PING")
        ca.write_bytes(second.ca.read_bytes())
        seat = Seat(0.0)
        done = []
        for at in (0.0, *RELOADS_S):
            moment = Moment(at, has_changed=True)
            done.append(await settle_client_ca(instance.member, Goal(), moment, seat))
        assert done == [False, False, False, False, True]
        assert ask_tls(instance.port, context, "PING") == b"PONG"


async def test_a_certificate_that_we_cannot_see_is_read_several_times_after_a_change(
    tmp_path: Path,
) -> None:
    authority = Authority(tmp_path / "authority")
    old, new = authority.issue("old"), authority.issue("new")
    with double(tmp_path, *tls_flags(old)) as instance:
        renew(old, new)
        leaf = leaf_of(new.cert.read_bytes())
        goal = Goal(certificate=leaf, data_port=free_port())
        seat = Seat(0.0)
        done = []
        for at in (0.0, *RELOADS_S):
            moment = Moment(at, has_changed=True)
            done.append(await settle_certificate(instance.member, goal, moment, seat))
        assert done == [False, False, False, False, True]
        assert "is not known" in seat.note
        assert await served_certificate(Address("127.0.0.1", instance.port)) == leaf


async def test_the_authority_of_clients_is_read_once_when_we_come(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    pair = authority.issue("cache")
    with double(tmp_path, *tls_flags(pair)) as instance:
        first = Moment(0.0, has_changed=False, is_first=True)
        assert await settle_client_ca(instance.member, Goal(), first, Seat(0.0))
        seat = Seat(0.0)
        assert await settle_client_ca(instance.member, Goal(), AT_FIRST, seat)
        assert seat.readings == 0


def test_a_key_of_another_certificate_is_refused_and_a_good_pair_is_not(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    one, other = authority.issue("one"), authority.issue("other")
    locked = authority.issue("locked", "password")
    check_pair(one.cert.read_bytes(), one.key.read_bytes())
    check_authorities(authority.ca.read_bytes())
    with pytest.raises(SettingsError, match="not of one another"):
        check_pair(one.cert.read_bytes(), other.key.read_bytes())
    with pytest.raises(SettingsError, match="damaged"):
        check_pair(one.cert.read_bytes(), b"nonsense")
    with pytest.raises(SettingsError, match="encrypted"):
        check_pair(locked.cert.read_bytes(), locked.key.read_bytes())
    for nonsense in (b"", b"\xff", one.key.read_bytes()):
        with pytest.raises(SettingsError, match="authorities"):
            check_authorities(nonsense)
        with pytest.raises(SettingsError, match="no certificate"):
            leaf_of(nonsense)
    with pytest.raises(SettingsError, match="damaged"):
        leaf_of(b"-----BEGIN CERTIFICATE-----\n\xff\n-----END CERTIFICATE-----")


async def test_a_port_without_tls_shows_no_certificate(tmp_path: Path) -> None:
    with double(tmp_path) as instance, pytest.raises(RemoteError, match="TLS"):
        await served_certificate(Address("127.0.0.1", instance.port))
