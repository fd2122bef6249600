"""Turn this machine and the programs on it into the lines that every measurement carries."""

import os
import platform
import re
import time
from importlib.metadata import version
from pathlib import Path

from kinds import Engine, Kind, binary_version


def environment(kinds: list[Kind], engine: Engine) -> dict[str, str]:
    """Return what a reader needs to judge the figures: machine, load, versions."""
    model = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "cpu": f"{os.cpu_count()} x {model[1] if model else platform.machine()}",
        "load": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "sentinels": ", ".join(map(kind_version, kinds)),
        "instances": f"{engine.value} {binary_version(engine)}",
    }


def kind_version(kind: Kind) -> str:
    """Return the name and version of a kind of Sentinel."""
    if kind is Kind.EVERFLY:
        return f"everfly {version('everfly')}"
    return f"{kind.value} {binary_version(Engine(kind.value))}"
