"""The page in a real browser, where there is one."""

import contextlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kinds import HOST
from processes import Child, free_port, until
from servers import Group
from web_client import get

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on PATH"),
]


def render(url: str, profile: Path) -> tuple[str, str]:
    """Return the page after four seconds of its life, and what the browser complained about."""
    assert CHROMIUM is not None
    done = subprocess.run(
        [
            CHROMIUM,
            *["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"],
            *["--disable-background-networking", "--disable-component-update"],
            *["--enable-logging=stderr", "--v=0", "--virtual-time-budget=4000", "--dump-dom"],
            f"--user-data-dir={profile}",
            url,
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout, "\n".join(complaints)


def test_a_browser_shows_the_topology_and_the_past(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        group = Group(tmp_path / "group", replicas=1)
        stack.callback(group.kill)
        group.start()
        port, http = free_port(), free_port()
        conf = tmp_path / "sentinel.conf"
        primary = group.instances[0].port
        conf.write_text(f"port {port}\nbind {HOST}\nsentinel monitor cache {HOST} {primary} 1\n")
        command = [sys.executable, "-m", "everfly", "sentinel", "--metrics", str(http), str(conf)]
        child = Child(command, tmp_path / "log")
        stack.callback(child.kill)

        def is_whole() -> bool:
            """The Sentinel finds the group well."""
            groups = get(http, "/api/groups").json()["groups"]
            return isinstance(groups, list) and groups[0]["state"] == "ok"

        until(is_whole, 20, show=child.log_tail)
        shown, complaints = render(f"http://{HOST}:{http}/", tmp_path / "profile")
    assert complaints == ""
    assert re.search(r'id="live"[^>]*>live<', shown)
    assert re.search(r'id="state"[^>]*>healthy<', shown)
    picture = shown[shown.index("<svg") : shown.index("</svg>")]
    for instance in group.instances:
        assert f"{HOST}:{instance.port}" in picture
    assert picture.count('class="wire"') == 1
    assert "+monitor" in shown[shown.index('id="timeline"') :]
