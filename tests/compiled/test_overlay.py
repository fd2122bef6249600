"""Compiled modules are used where they fit, whole, in time, and are nobody else's."""

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from everfly.compiled import overlay
from processes import until

SOABI = sysconfig.get_config_var("SOABI")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def folder(cache: Path) -> Path:
    """A folder of the right name, with a module that nobody could import."""
    found = cache / "everfly" / "compiled" / overlay.key()
    (found / "everfly" / "core").mkdir(parents=True)
    (found / "everfly" / "core" / f"machine.{SOABI}.so").touch()
    found.chmod(0o755)
    return found


def python(text: str, cache: Path, *, wish: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "EVERFLY_COMPILED": wish}
    line = [sys.executable, "-c", text]
    return subprocess.run(
        line, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


USE = "from everfly.compiled import overlay; print(overlay.use(), overlay.used())"


def test_the_key_follows_the_sources(tmp_path: Path) -> None:
    package = Path(overlay.__file__).parent.parent
    copy = tmp_path / "everfly"
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))
    assert overlay.key(copy) == overlay.key()
    text = copy / "core" / "policy.py"
    text.write_text(text.read_text() + "\n")
    changed = overlay.key(copy)
    assert changed != overlay.key()
    (copy / "sim" / "extra.py").touch()
    assert overlay.key(copy) not in {changed, overlay.key()}
    (copy / "sim" / "extra.py").rename(copy / "core" / "extra.py")
    assert len({overlay.key(copy), changed, overlay.key()}) == 3


def test_without_a_folder_plain_python_runs_in_silence(cache: Path) -> None:
    done = python(USE, cache)
    assert (done.stdout, done.stderr) == ("None None\n", "")


def test_whoever_asked_hears_that_there_is_nothing_compiled(cache: Path) -> None:
    done = python(USE, cache, wish="1")
    assert done.stdout == "None None\n"
    assert done.stderr == (
        f"EVERFLY_COMPILED=1, but nothing in {cache}/everfly/compiled was made of the sources "
        "here: plain Python runs. Build it: make compiled\n"
    )


def test_a_folder_that_fits_is_looked_at_first(cache: Path, folder: Path) -> None:
    done = python(f"{USE}\nimport everfly.core.model\nimport everfly.core.machine", cache)
    assert done.stdout == f"{folder} {folder}\n"
    # The empty library was found before the plain module; what is not there is plain.
    assert f"ImportError: {folder}/everfly/core/machine.{SOABI}.so" in done.stderr


def test_it_is_used_only_before_a_module_of_it_is_imported(cache: Path, folder: Path) -> None:
    assert folder.exists()
    assert python(f"import everfly.core.machine\n{USE}", cache).stdout == "None None\n"


def test_it_is_not_used_where_somebody_does_not_want_it(cache: Path, folder: Path) -> None:
    assert folder.exists()
    assert python(USE, cache, wish="0").stdout == "None None\n"


def test_it_is_not_used_where_a_tracer_would_be_blind(cache: Path, folder: Path) -> None:
    assert folder.exists()
    traced = f"import sys; sys.settrace(lambda *_: None)\n{USE}"
    assert python(traced, cache).stdout == "None None\n"


@pytest.mark.parametrize("mode", [0o775, 0o757])
def test_a_folder_that_others_may_write_to_is_not_trusted(folder: Path, mode: int) -> None:
    assert overlay.find() == folder
    folder.chmod(mode)
    assert overlay.find() is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders away")
def test_a_folder_of_somebody_else_is_not_trusted(folder: Path) -> None:
    os.chown(folder, 12_345, 12_345)
    assert overlay.find() is None


def test_a_build_without_a_compiler_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "everfly.compiled.build"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "PATH": str(tmp_path)}
    done = subprocess.run(
        line, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith(
        "the core and the simulator are not compiled, plain Python runs: "
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(
    any(find_spec(name) is None for name in ("mypyc", "setuptools")) or not shutil.which("cc"),
    reason="nothing to compile with",
)
def test_a_build_that_is_ended_leaves_no_file_and_no_process(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "everfly.compiled.build"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    with subprocess.Popen(line, env=environment, stderr=subprocess.PIPE) as build:
        assert build.stderr is not None
        begun = until(lambda: psutil.Process(build.pid).children(recursive=True), within_s=60)
        build.terminate()
        assert build.wait(30) == 128 + signal.SIGTERM
    gone, alive = psutil.wait_procs(begun, timeout=30)
    assert (len(gone) > 0, alive) == (True, [])
    assert list((tmp_path / "everfly" / "compiled").iterdir()) == []
