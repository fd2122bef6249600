"""Give pods network namespaces and addresses on one bridge, and cut them off from each other."""

import itertools
import shlex
from typing import Final

from .shell import attempt, run

BRIDGE: Final = "everfly0"
PREFIX: Final = "10.244"
GATEWAY: Final = f"{PREFIX}.0.1"
"""The address of the cluster's own namespace: API server, kubelet, operator and tests."""
HOSTS_A_NODE: Final = 250


class NodeAddresses:
    """Addresses of one node's pods, none of them given twice until 250 others were."""

    def __init__(self, node: int) -> None:
        self._next = itertools.cycle(f"{PREFIX}.{node}.{host}" for host in range(2, HOSTS_A_NODE))

    def take(self) -> str:
        return next(self._next)


class PodNetwork:
    """The namespace of one pod, called `p` and the start of its uid; its link is called `v...`."""

    def __init__(self, uid: str, address: str) -> None:
        self.namespace = f"p{uid[:8]}"
        self.link = f"v{uid[:8]}"
        self.address = address

    async def set_up(self) -> None:
        name, link = self.namespace, self.link
        await _script(
            f"ip netns del {name} 2>/dev/null || :",
            f"ip netns add {name}",
            f"ip link add {link} type veth peer name eth0 netns {name}",
            f"ip link set {link} master {BRIDGE} up",
            f"ip -n {name} link set lo up",
            f"ip -n {name} link set eth0 up",
            f"ip -n {name} addr add {self.address}/16 dev eth0",
            f"ip -n {name} route add default via {GATEWAY}",
        )

    async def tear_down(self) -> None:
        await attempt("ip", "netns", "del", self.namespace)

    async def set_link(self, *, is_up: bool) -> None:
        await attempt("ip", "link", "set", self.link, "up" if is_up else "down")


async def set_up_bridge() -> None:
    await _script(
        "ip link set lo up",
        f"ip link add {BRIDGE} type bridge",
        f"ip addr add {GATEWAY}/16 dev {BRIDGE}",
        f"ip link set {BRIDGE} up",
    )


async def _script(*lines: str) -> None:
    await run("sh", "-ec", "\n".join(lines))


def quoted(*words: str) -> str:
    """Return words as one line for a shell."""
    return shlex.join(words)
