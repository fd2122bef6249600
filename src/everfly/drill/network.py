"""Make a small network of namespaces on this machine, cut it in two, heal it, remove it.

    client ─┐                    ┌─ instance-1 (a member of side B)
            bridge A ─ cable ─ bridge B
    instance-2 ─┘                └─ sentinel-1

Each member has a namespace of its own with one address, connected to the bridge of its side; the
bridges are in one more namespace, without addresses. Cutting takes the cable down: packets vanish
without a word, as when a switch dies, and every process lives on. Nothing of this touches the
network of the machine, so the addresses can be fixed. Needs root and iproute2.
"""

import contextlib
import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from everfly.errors import SettingsError

PREFIX: Final = "everfly-drill"
NETWORK: Final = "10.123.45"
"""The addresses are NETWORK.1 and so on: private, and seen by nobody outside."""

_FOLDER: Final = Path("/run/netns")
"""Where iproute2 keeps the names of namespaces."""

_LIMIT_S: Final = 20.0
_CLONE_NEWNET: Final = 0x40000000
"""Type of a network namespace for setns(2); linux/sched.h."""


class Network:
    """Namespaces of members. Use it as a context: leaving it removes everything."""

    def __init__(self, near: Sequence[str], far: Sequence[str]) -> None:
        """Take the names of the members on side A (with the clients) and on side B.

        Raises SettingsError when this machine or this user cannot make namespaces.
        """
        self._near, self._far = tuple(near), tuple(far)
        if os.geteuid() != 0:
            raise SettingsError("a partition needs root, for network namespaces; run it with sudo")
        program = shutil.which("ip")
        if program is None:
            raise SettingsError("a partition needs the program `ip`; install iproute2")
        self._ip = program
        self._bridges = f"{PREFIX}-{os.getpid()}-bridges"

    def namespace(self, member: str) -> str:
        """Return the name of a member's namespace, for `ip netns exec`."""
        return f"{PREFIX}-{os.getpid()}-{member}"

    def address(self, member: str) -> str:
        """Return the IP address of a member."""
        return f"{NETWORK}.{(*self._near, *self._far).index(member) + 1}"

    def inside(self, member: str, command: Sequence[str]) -> list[str]:
        """Return the command line that runs a command in a member's namespace."""
        return [self._ip, "netns", "exec", self.namespace(member), *command]

    def __enter__(self) -> Self:
        self._remove_leftovers()
        try:
            self._make()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._remove()

    def cut(self) -> None:
        """Take the cable between the sides away."""
        self._batch(["link set cable-a down"], self._bridges)

    def heal(self) -> None:
        """Put the cable back."""
        self._batch(["link set cable-a up"], self._bridges)

    @contextlib.contextmanager
    def entered(self, member: str) -> Iterator[None]:
        """Let this thread make sockets in a member's namespace. Do not await inside.

        A socket stays in the namespace where it was made. Raises SettingsError.
        """
        with _namespace_file(Path("/proc/thread-self/ns/net")) as home:
            with _namespace_file(_FOLDER / self.namespace(member)) as there:
                _enter(there)
            try:
                yield
            finally:
                _enter(home)

    def _make(self) -> None:
        hub = self._bridges
        self._batch([f"netns add {hub}"])
        lines = [
            "link add bridge-a type bridge",
            "link add bridge-b type bridge",
            "link add cable-a type veth peer name cable-b",
            "link set cable-a master bridge-a",
            "link set cable-b master bridge-b",
            *(f"link set {each} up" for each in ("bridge-a", "bridge-b", "cable-a", "cable-b")),
        ]
        self._batch(lines, hub)
        for number, member in enumerate((*self._near, *self._far), 1):
            namespace = self.namespace(member)
            bridge = "bridge-a" if member in self._near else "bridge-b"
            self._batch([f"netns add {namespace}"])
            self._batch(
                [
                    f"link add port-{number} type veth peer name eth0 netns {namespace}",
                    f"link set port-{number} master {bridge}",
                    f"link set port-{number} up",
                ],
                hub,
            )
            self._batch(
                [
                    f"address add {self.address(member)}/24 dev eth0",
                    "link set lo up",
                    "link set eth0 up",
                ],
                namespace,
            )

    def _remove(self) -> None:
        for name in (*map(self.namespace, (*self._near, *self._far)), self._bridges):
            self._delete(name)

    def _remove_leftovers(self) -> None:
        """Remove what drills left that were killed before they could."""
        names = _FOLDER.iterdir() if _FOLDER.is_dir() else ()
        for path in names:
            owner = path.name.removeprefix(f"{PREFIX}-").partition("-")[0]
            is_ours = path.name.startswith(f"{PREFIX}-") and owner.isdigit()
            if is_ours and not Path(f"/proc/{owner}").exists():
                self._delete(path.name)

    def _delete(self, name: str) -> None:
        if (_FOLDER / name).exists():
            with contextlib.suppress(SettingsError):
                self._batch([f"netns delete {name}"])

    def _batch(self, lines: Sequence[str], namespace: str | None = None) -> None:
        """Run lines of `ip`, in a namespace if one is named. Raises SettingsError."""
        place = [] if namespace is None else ["-n", namespace]
        try:
            done = subprocess.run(  # noqa: S603 - the program of the system, our own words
                [self._ip, *place, "-batch", "-"],
                input="".join(f"{line}\n" for line in lines),
                capture_output=True,
                text=True,
                timeout=_LIMIT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SettingsError(f"`ip` does not work here: {error}") from error
        if done.returncode != 0:
            raise SettingsError(
                f"no network namespaces can be made or changed here: {done.stderr.strip()[-300:]}; "
                "in a container they need --privileged"
            )


@contextlib.contextmanager
def _namespace_file(path: Path) -> Iterator[int]:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise SettingsError(f"the namespace {path} cannot be entered: {error.strerror}") from error
    try:
        yield file
    finally:
        os.close(file)


def _enter(file: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(file, _CLONE_NEWNET) != 0:
        reason = os.strerror(ctypes.get_errno())
        raise SettingsError(f"a network namespace cannot be entered: {reason}; it needs root")
