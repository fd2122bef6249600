"""Find the programs of the control plane in the cache, or say why there are none here.

The cache is `$XDG_CACHE_HOME/everfly/kubernetes-VERSION-KEY`; the key changes with the recipe.
`python -m controlplane.binaries` (in tests/operator) builds what is missing and prints the folder.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from .recipe import PROGRAMS, RELEASE, VERSION, build

KEY_LENGTH: Final = 12
DISK_BYTES: Final = 4 * 1024**3
"""Free space that a build needs: twice what it was seen to take."""
_WORK: Final = "kubernetes-build-"
_NEEDED_TO_BUILD: Final = ("apt-get", "dpkg-deb", "dpkg-source", "nice")
_NEEDED_TO_RUN: Final = ("ip", "nsenter", "unshare", "setpriv", "openssl", "mount", "chroot")


def cache() -> Path:
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    here = Path(__file__).parent
    recipe = b"".join((here / name).read_bytes() for name in ("recipe.py", "policy_v1.py"))
    key = hashlib.sha256(recipe).hexdigest()[:KEY_LENGTH]
    return root / "everfly" / f"kubernetes-{VERSION}-{key}"


def are_built() -> bool:
    return all((cache() / program).is_file() for program in PROGRAMS)


def missing() -> str:
    """Return why no control plane can run on this machine, with what to do, or an empty string."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "a control plane of real processes needs Linux and root"
    for program in _NEEDED_TO_RUN:
        if not shutil.which(program):
            return f"{program} is not on PATH: run deploy/test-peers.sh as root"
    if reason := _missing_namespaces():
        return reason
    return "" if are_built() else _missing_to_build()


def _missing_namespaces() -> str:
    # Overlays on the root are what containers see of this machine; containers may forbid either.
    script = "mount --make-rprivate / && mount -t tmpfs tmpfs /tmp && ip link set lo up"
    done = subprocess.run(
        ["unshare", "--mount", "--net", "sh", "-c", script], capture_output=True, check=False
    )
    return "" if done.returncode == 0 else f"no namespaces here: {done.stderr.decode().strip()}"


def _missing_to_build() -> str:
    what = f"Kubernetes {VERSION} is not in {cache()} and cannot be built: "
    release = Path("/etc/os-release")
    if not release.exists() or f"VERSION_CODENAME={RELEASE}" not in release.read_text():
        return f"{what}it needs the source package of Debian 12"
    for program in _NEEDED_TO_BUILD:
        if not shutil.which(program):
            return f"{what}{program} is not on PATH (install dpkg-dev)"
    place = cache().parent
    place.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(place).free
    if free < DISK_BYTES:
        return f"{what}{place} has {free >> 30} GiB free, and it needs {DISK_BYTES >> 30}"
    return ""


def binaries() -> Path:
    """Return the folder of the programs; build them when they are not there.

    Ask `missing` first. Raise what `recipe.build` raises.
    """
    place = cache()
    place.parent.mkdir(parents=True, exist_ok=True)
    with _lock(place.with_name("kubernetes.lock")):
        if not are_built():
            _build_into(place)
    return place


def _build_into(place: Path) -> None:
    # Whoever holds the lock is the only builder: what others left is of builds that were killed.
    for rest in place.parent.glob(f"{_WORK}*"):
        shutil.rmtree(rest, ignore_errors=True)
    # Beside the cache, so that the last step is a rename: a folder there is always whole.
    with tempfile.TemporaryDirectory(
        prefix=_WORK, dir=place.parent, ignore_cleanup_errors=True
    ) as work:
        out = Path(work, "out")
        inside = Path(work, "work")
        out.mkdir()
        inside.mkdir()
        build(inside, out)
        shutil.rmtree(place, ignore_errors=True)
        out.rename(place)


@contextlib.contextmanager
def _lock(file: Path) -> Iterator[None]:
    with file.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    if reason := missing():
        sys.exit(reason)
    print(binaries())  # noqa: T201 - its answer
