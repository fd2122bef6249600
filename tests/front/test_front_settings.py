"""What the flags of a front mean, and what is wrong with them."""

from pathlib import Path

import pytest

from everfly.errors import SettingsError
from everfly.front.settings import FrontSettings, Told, read_settings
from tls_files import Authority


def read(**told: str) -> FrontSettings:
    return read_settings(Told(**told))  # type: ignore[arg-type]  # all of these are texts


def test_without_flags_all_namespaces_are_told_of_at_the_port_of_sentinels() -> None:
    settings = read()
    assert settings.namespaces == ()
    assert settings.bind is not None
    assert settings.bind.port == 26379
    assert (settings.tls_bind, settings.password) == (None, "")


def test_namespaces_are_written_with_commas_and_count_once() -> None:
    assert read(namespaces="b, a,,b").namespaces == ("a", "b")


def test_a_password_is_the_first_line_of_its_file_and_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("of-the-front\n")
    settings = read(password_file=str(file))
    assert settings.password == "of-the-front"
    assert "of-the-front" not in repr(settings)


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        ({"bind": "0"}, "nowhere to listen"),
        ({"bind": "nonsense"}, "--bind: 'nonsense' is no HOST:PORT"),
        ({"tls_bind": ":6380"}, "--tls-bind needs --tls-cert-file and --tls-key-file"),
        ({"password_file": "a", "acl_file": "b"}, "contradict each other"),
        ({"password_file": "/nowhere/at/all"}, "/nowhere/at/all cannot be read"),
    ],
    ids=lambda each: str(each)[:40],
)
def test_what_is_wrong_is_said(told: dict[str, str], problem: str) -> None:
    with pytest.raises(SettingsError, match=problem):
        read(**told)


@pytest.mark.parametrize("content", ["", "\n", "x" * 5000])
def test_a_file_that_holds_no_password_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "password"
    file.write_text(content)
    with pytest.raises(SettingsError, match="must hold 1 to 4096 bytes"):
        read(password_file=str(file))


def test_tls_is_read_from_its_files(tmp_path: Path) -> None:
    pair = Authority(tmp_path / "authority").issue("front")
    files = {"tls_cert_file": str(pair.cert), "tls_key_file": str(pair.key)}
    assert read(tls_bind=":6380", **files).tls is not None
    with pytest.raises(SettingsError):
        read(tls_bind=":6380", **files | {"tls_key_file": str(pair.cert)})
