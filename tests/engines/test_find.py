import os
from pathlib import Path

import pytest

from engines_fixture import DOUBLE
from everfly.core.model import Engine
from everfly.engines.find import find_engine
from everfly.errors import SettingsError


def program(folder: Path, name: str, script: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_the_embedded_valkey_is_found_and_says_its_version() -> None:
    binary = find_engine("valkey", environment={"PATH": ""})
    assert binary.engine is Engine.VALKEY
    assert binary.version[0].isdigit()
    assert os.access(binary.path, os.X_OK)


def test_auto_prefers_a_dragonfly_that_the_environment_names() -> None:
    binary = find_engine("auto", environment={"EVERFLY_DRAGONFLY": str(DOUBLE), "PATH": ""})
    assert binary.engine is Engine.DRAGONFLY
    assert binary.version == "1.40.1-double"


def test_auto_prefers_a_dragonfly_on_path(tmp_path: Path) -> None:
    program(tmp_path, "dragonfly", "echo dragonfly v1.2.3-abc")
    binary = find_engine("auto", environment={"PATH": str(tmp_path)})
    assert (binary.engine, binary.version) == (Engine.DRAGONFLY, "1.2.3-abc")


def test_auto_takes_the_embedded_valkey_when_there_is_no_dragonfly(tmp_path: Path) -> None:
    program(tmp_path, "redis-server", "echo Redis server v=7.0.15 sha=0")
    assert find_engine("auto", environment={"PATH": str(tmp_path)}).engine is Engine.VALKEY


def test_redis_is_found_on_path(tmp_path: Path) -> None:
    program(tmp_path, "redis-server", "echo Redis server v=7.0.15 sha=00000000:0 bits=64")
    binary = find_engine("redis", environment={"PATH": str(tmp_path)})
    assert (binary.engine, binary.version) == (Engine.REDIS, "7.0.15")


def test_a_missing_engine_names_every_place_and_what_to_install() -> None:
    with pytest.raises(SettingsError) as caught:
        find_engine("dragonfly", environment={"PATH": ""})
    text = str(caught.value)
    assert "EVERFLY_DRAGONFLY" in text
    assert "dragonfly on PATH" in text
    assert "--engine-binary" in text


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("echo some other program 1.0", "is no data store that Everfly knows"),
        ("echo Redis server v=7.0.15", "is redis, not valkey"),
        ("echo broken library; exit 127", "failed with status 127: 'broken library'"),
    ],
)
def test_a_wrong_binary_is_refused_with_what_it_said(
    tmp_path: Path, script: str, expected: str
) -> None:
    with pytest.raises(SettingsError, match=expected):
        find_engine("valkey", str(program(tmp_path, "binary", script)))


def test_a_binary_that_is_no_program_is_refused(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"\x7fELF but not really")
    garbage.chmod(0o755)
    with pytest.raises(SettingsError, match="cannot be run"):
        find_engine("auto", str(garbage))


def test_a_given_path_must_exist_and_be_executable(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="does not exist"):
        find_engine("auto", str(tmp_path / "nothing"))
    (tmp_path / "text").touch()
    with pytest.raises(SettingsError, match="is not executable"):
        find_engine("auto", str(tmp_path / "text"))
