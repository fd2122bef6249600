"""Turn a container of a pod into a command line that runs its process apart from the machine.

The process sees a copy-on-write view of this machine's files with the files of its image and the
volumes of its pod, its own process numbers and host name, and its pod's network.
"""

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .fields import ConfigError, Json, expanded
from .network import quoted
from .settings import Image

_HERE: Final = Path(__file__).resolve().parents[4]


@dataclass(frozen=True)
class Mount:
    source: Path
    target: str


class Sandbox:
    """The folders of one run of one container; `remove` them when it has ended."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "root"
        shutil.rmtree(folder, ignore_errors=True)
        for each in (self.root, folder / "upper", folder / "work", folder / "files"):
            each.mkdir(parents=True)

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def script(self, host: str, image: Image, mounts: Sequence[Mount], working_folder: str) -> str:
        """Return the shell script that makes the view and becomes `"$@"` inside it."""
        root = self.root
        options = f"lowerdir=/,upperdir={self.folder}/upper,workdir={self.folder}/work"
        lines = [
            quoted("hostname", host),
            quoted("mount", "-t", "overlay", "overlay", "-o", options, str(root)),
            quoted("mount", "--rbind", "/dev", f"{root}/dev"),
            quoted("mount", "--rbind", "/sys", f"{root}/sys"),
            quoted("mount", "-t", "proc", "proc", f"{root}/proc"),
            quoted("mkdir", "-p", f"{root}{working_folder}"),
            *_own_folders(root),
        ]
        for index, (path, text) in enumerate(image.files.items()):
            file = self.folder / "files" / str(index)
            file.write_text(text)
            file.chmod(0o755)
            lines.append(_bind(file, f"{root}{path}"))
        # A link such as /var/run would lead out of the view, and the view has this machine's links.
        lines += [_bind(each.source, f"{root}{Path(each.target).resolve()}") for each in mounts]
        enter = quoted("chroot", str(root), "/usr/bin/env", "-i", "-C", working_folder)
        return "\n".join([*lines, f'exec {enter} "$@"'])


def command_of(container: Json, image: Image, environment: dict[str, str]) -> list[str]:
    """Return the words to run: as everywhere, `command` replaces entry and arguments."""
    words = [*container.get("command", []), *container.get("args", [])]
    if not container.get("command"):
        words = [*image.entry, *(container.get("args") or image.args)]
    return [expanded(word, environment) for word in words]


def mounts_of(container: Json, volumes: dict[str, Path]) -> list[Mount]:
    """Return what is mounted where. Raise ConfigError for a volume that the pod has not."""
    mounts = []
    for each in container.get("volumeMounts", []):
        if each["name"] not in volumes:
            raise ConfigError(f"container {container['name']} mounts {each['name']!r}, and the "
                              "pod has no such volume")  # fmt: skip
        source = volumes[each["name"]]
        if part := each.get("subPath"):
            # The link to the newest version is followed now: a subPath keeps what it had.
            source = (source / part).resolve()
            if not source.exists():
                source.mkdir(parents=True)
        mounts.append(Mount(source, each["mountPath"]))
    return mounts


def _bind(source: Path, target: str) -> str:
    file = quoted(target)
    if source.is_dir():
        made = f"mkdir -p {file}"
    else:
        made = f"mkdir -p {quoted(str(Path(target).parent))} && : >> {file}"
    return f"{made} && {quoted('mount', '--bind', str(source), target)}"


def _own_folders(root: Path) -> list[str]:
    """Bind what Python and the checkout need when it is not on the root file system."""
    device = Path("/").stat().st_dev
    needed = {_HERE, Path(sys.prefix), Path(sys.base_prefix)}
    return [_bind(folder, f"{root}{folder}") for folder in needed if folder.stat().st_dev != device]
