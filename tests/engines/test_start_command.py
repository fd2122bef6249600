from pathlib import Path

from everfly.core.model import Address, Engine
from everfly.engines.command import EngineBinary, InstanceSpec
from everfly.engines.dialect import secrets_text, start_command

VALKEY = EngineBinary(Engine.VALKEY, Path("/bin/valkey-server"), "9.1.2")
DRAGONFLY = EngineBinary(Engine.DRAGONFLY, Path("/bin/dragonfly"), "1.40.1")
DATA = Path("/data")


def option(command: list[str], name: str) -> list[str]:
    """Return the words behind an option, up to the next one."""
    start = command.index(f"--{name}") + 1
    words = command[start:]
    return words[: next((i for i, word in enumerate(words) if word.startswith("--")), len(words))]


def test_a_valkey_keeps_its_data_and_waits_before_it_hands_it_out() -> None:
    command = start_command(VALKEY, InstanceSpec(port=7001, directory=DATA))
    assert option(command, "appendonly") == ["yes"]
    assert option(command, "repl-diskless-sync") == ["yes"]
    assert option(command, "repl-diskless-sync-delay") == ["5"]
    assert "--replicaof" not in command


def test_a_valkey_replica_follows() -> None:
    spec = InstanceSpec(port=7001, directory=DATA, replica_of=Address("127.0.0.1", 7000))
    assert option(start_command(VALKEY, spec), "replicaof") == ["127.0.0.1", "7000"]


def test_protected_mode_is_off_only_for_this_machine_alone() -> None:
    local = InstanceSpec(port=7001, directory=DATA)
    open_to_all = InstanceSpec(port=7001, directory=DATA, bind="0.0.0.0")
    assert option(start_command(VALKEY, local), "protected-mode") == ["no"]
    assert option(start_command(VALKEY, open_to_all), "protected-mode") == ["yes"]


def test_a_dragonfly_replica_leaves_a_primary_that_restarted() -> None:
    spec = InstanceSpec(port=7001, directory=DATA, admin_port=8001, replica_of=Address("::1", 7000))
    command = start_command(DRAGONFLY, spec)
    assert "--break_replication_on_master_restart=true" in command
    assert "--replicaof=[::1]:7000" in command
    assert "--admin_port=8001" in command


def test_extra_arguments_come_last() -> None:
    spec = InstanceSpec(port=7001, directory=DATA, extra=("--hz", "50"), secrets=Path("/s"))
    assert start_command(VALKEY, spec)[:2] == ["/bin/valkey-server", "/s"]
    assert start_command(VALKEY, spec)[-2:] == ["--hz", "50"]


def test_no_password_is_ever_an_argument() -> None:
    for binary in (VALKEY, DRAGONFLY):
        spec = InstanceSpec(port=7001, directory=DATA, secrets=Path("/data/secrets"))
        assert not any("requirepass" in word for word in start_command(binary, spec))
        assert "hunter2" in secrets_text(binary.engine, "hunter2")


def test_a_password_cannot_end_its_line() -> None:
    text = secrets_text(Engine.VALKEY, 'a"b\\c\nport 1')
    assert text.count("\n") == 2
    assert "\\x22b\\x5cc\\x0aport 1" in text
