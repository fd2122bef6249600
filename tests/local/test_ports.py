import os
import socket

import pytest

from everfly.local.ports import PortInUse, check_free, is_free, random_free

HOST = "127.0.0.1"


def test_a_port_in_use_is_named_with_its_owner_and_what_to_do() -> None:
    with socket.create_server((HOST, 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(PortInUse) as caught:
            check_free(HOST, [(port, "instance-1")])
    text = str(caught.value)
    assert f"port {port} for instance-1 is in use" in text
    assert f"(pid {os.getpid()})" in text
    assert "--port" in text


def test_a_taken_port_of_a_sentinel_names_its_option() -> None:
    with (
        socket.create_server((HOST, 0)) as server,
        pytest.raises(PortInUse, match="--sentinel-port"),
    ):
        check_free(HOST, [(server.getsockname()[1], "Sentinel 1")])


def test_free_ports_are_different_and_free() -> None:
    ports = random_free(HOST, 20)
    assert len(set(ports)) == 20
    check_free(HOST, [(port, "instance-1") for port in ports])
    with socket.create_server((HOST, ports[0])):
        assert not is_free(HOST, ports[0])
