"""Find `helm` and the checker of manifests (`newest/`) in the cache, or build them with Go.

The cache is `$XDG_CACHE_HOME/everfly/kubernetes-tools-KEY`; the key changes with the module. A
first build fetches Go modules and takes three to six minutes.
"""

import fcntl
import functools
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

MODULE: Final = Path(__file__).parent / "newest"
HELM: Final = "helm.sh/helm/v3/cmd/helm"
KEY_LENGTH: Final = 12
BUILD_S: Final = 2400
VERSION_S: Final = 30


def cache() -> Path:
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    module = b"".join((MODULE / name).read_bytes() for name in ("go.mod", "go.sum", "main.go"))
    key = hashlib.sha256(module).hexdigest()[:KEY_LENGTH]
    return root / "everfly" / f"kubernetes-tools-{key}"


def are_built() -> bool:
    return all((cache() / program).is_file() for program in ("helm", "newest"))


@functools.cache
def missing() -> str:
    """Return why the tools are not to be had here, with what to do, or an empty string."""
    if are_built():
        return ""
    go = shutil.which("go")
    if not go:
        return "helm is not in the cache, and there is no Go to build it: install Go and run again"
    found = subprocess.run(
        [go, "env", "GOVERSION"], capture_output=True, text=True, check=True, timeout=VERSION_S
    ).stdout.strip()
    wanted = re.search(r"^go (\S+)", (MODULE / "go.mod").read_text(), re.MULTILINE)
    assert wanted is not None
    if _numbers(found) < _numbers(wanted[1]):
        return f"helm is not in the cache, and {found} is too old to build it: Go {wanted[1]}"
    return ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


class OutOfReachError(Exception):
    """Go modules cannot be fetched from here."""


def _fetch() -> None:
    command = ["go", "mod", "download"]
    done = subprocess.run(
        command, cwd=MODULE, capture_output=True, text=True, check=False, timeout=BUILD_S
    )
    if done.returncode:
        raise OutOfReachError(f"helm cannot be built: {done.stderr.strip()[-500:]}")


def tools() -> Path:
    """Return the folder of `helm` and `newest`. Ask `missing` first.

    Raise OutOfReachError or CalledProcessError.
    """
    place = cache()
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.with_name("kubernetes-tools.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not are_built():
            _fetch()
            with tempfile.TemporaryDirectory(dir=place.parent) as folder:
                out = Path(folder, "out")
                out.mkdir()
                subprocess.run(
                    ["nice", "-n", "10", "go", "build", "-p", "2", "-trimpath",
                     "-ldflags", "-s -w", "-o", f"{out}/", ".", HELM],
                    cwd=MODULE, check=True, timeout=BUILD_S,
                )  # fmt: skip
                shutil.rmtree(place, ignore_errors=True)
                out.rename(place)
    return place
