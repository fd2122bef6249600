"""Flags and environment are those of the upstream operator."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from everfly.cli import main
from everfly.errors import SettingsError
from everfly.operator.settings import Bind, namespaces_of, new_identity, own_namespace_of, read_bind


@pytest.mark.parametrize(
    ("text", "bind"),
    [
        (":8080", Bind("", 8080)),
        ("127.0.0.1:9", Bind("127.0.0.1", 9)),
        ("[::1]:9", Bind("::1", 9)),
        ("0", None),
        ("", None),
    ],
)
def test_where_to_listen_is_read_as_the_upstream_operator_does(
    text: str, bind: Bind | None
) -> None:
    assert read_bind(text, "--flag") == bind


@pytest.mark.parametrize("text", ["8080", ":", ":x", ":99999", "host"])
def test_a_wrong_address_is_named_with_its_flag(text: str) -> None:
    with pytest.raises(SettingsError, match="--metrics-bind-address"):
        read_bind(text, "--metrics-bind-address")


@pytest.mark.parametrize(
    ("text", "found"),
    [("", ()), ("a", ("a",)), ("a,b", ("a", "b")), (" a , b,", ("a", "b"))],
)
def test_namespaces_have_commas_between_them(text: str, found: tuple[str, ...]) -> None:
    assert namespaces_of({"WATCH_NAMESPACE": text}) == found


def test_the_own_namespace_is_that_of_the_environment_then_that_of_the_account(
    tmp_path: Path,
) -> None:
    file = tmp_path / "namespace"
    assert own_namespace_of({}, file) == ""
    file.write_text("from-file\n")
    assert own_namespace_of({}, file) == "from-file"
    assert own_namespace_of({"POD_NAMESPACE": "given"}, file) == "given"


def test_no_two_processes_have_one_identity() -> None:
    assert new_identity("pod-a").startswith("pod-a_")
    assert new_identity("pod-a") != new_identity("pod-a")


def test_the_version_flag_says_where_it_was_built_from() -> None:
    result = CliRunner().invoke(main, ["operator", "--version"])
    assert (result.exit_code, result.output) == (0, "source\n")


def test_an_operator_without_a_cluster_says_what_to_do() -> None:
    result = CliRunner().invoke(main, ["operator", "--kubeconfig=/nowhere/at/all"])
    assert result.exit_code == 1
    assert "give --kubeconfig" in result.output


@pytest.mark.parametrize("flag", ["--leader-elect", "--leader-elect=true", "--leader-elect=false"])
def test_flags_of_go_are_understood(flag: str) -> None:
    result = CliRunner().invoke(
        main, ["operator", flag, "--zap-log-level=error", "--kubeconfig=/nowhere", "--zap-devel"]
    )
    assert "give --kubeconfig" in result.output
