"""What the kubelet is told: its nodes, its pace, and which process stands for which image."""

import re
from dataclasses import dataclass, field
from pathlib import Path

STATE = Path("/run/everfly")
"""On a file system in memory that only the cluster sees, and that ends with it."""


@dataclass(frozen=True)
class NodeShape:
    name: str
    zone: str


@dataclass(frozen=True)
class Image:
    """What stands for the images whose name matches `pattern`."""

    pattern: str
    entry: list[str]
    args: list[str] = field(default_factory=list)
    folder: str = "/"
    environment: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    """Path in the container: text of an executable file."""


@dataclass(frozen=True)
class KubeletSettings:
    kubeconfig: Path
    folder: Path
    """Where logs go, and where the files `nodes/NAME` say `up`, `dead` or `isolated`."""
    nodes: list[NodeShape]
    images: list[Image]
    speed: float = 0.1
    """Factor on delays and periods of probes: seconds become tenths."""
    backoff_s: float = 0.5
    """Before the first restart of a container; doubles up to ten times that."""
    refresh_s: float = 1.0
    """Between two looks at the configMaps and secrets of volumes; a real kubelet takes a minute."""

    def image(self, name: str) -> Image | None:
        return next((image for image in self.images if re.search(image.pattern, name)), None)
