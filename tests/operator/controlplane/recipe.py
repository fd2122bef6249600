"""Turn Debian's source package of Kubernetes into the three programs of a control plane.

Nothing is installed: packages are fetched by apt-get with lists of its own and unpacked into the
work folder, which the caller removes. Takes six to twelve minutes on two cores and 2 GB of disk.
The text of this file and of policy_v1.py is the key of the cache: what changes them is built anew.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from .policy_v1 import add_policy_v1

VERSION: Final = "1.20.2"
"""The newest server of Kubernetes in Debian; its package says 1.20.5+really1.20.2."""
RELEASE: Final = "bookworm"
PROGRAMS: Final = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd")

_TOOLS: Final = (
    "golang-1.19-go",  # the newest Go that this source is known to build with
    "golang-1.19-src",
    "golang-github-modern-go-reflect2-dev",
    "etcd-server",
)
_COMMIT: Final = "faecb196815e248d3ecfb03c680a4507229c2a56"
"""What `kubectl version` shows; source: tag v1.20.2 of kubernetes/kubernetes."""
_GENERATED: Final = "pkg/generated/openapi/zz_generated.openapi.go"
_OPENAPI_TAG: Final = "+k8s:openapi-gen=true"
_OPENAPI_FOLDERS: Final = (
    "api", "apimachinery/pkg", "apiextensions-apiserver/pkg/apis", "kube-aggregator/pkg/apis",
    "apiserver/pkg/apis", "client-go/pkg/version", "metrics/pkg",
)  # fmt: skip


class OutOfReachError(Exception):
    """Debian's packages cannot be fetched from here."""


def build(work: Path, out: Path) -> None:
    """Leave `PROGRAMS` in `out`. Both folders exist and are empty.

    Raise OutOfReachError, subprocess.CalledProcessError for a step that fails, or RuntimeError for
    a source that is not as expected.
    """
    try:
        _fetch(work)
    except subprocess.CalledProcessError as error:
        raise OutOfReachError(f"no packages from here: {error}") from error
    source = work / "source"
    _patch(source, work / "tools")
    go = _Go(work, source)
    go.generate_openapi()
    for program in PROGRAMS[:-1]:
        go.build(f"./cmd/{program}", out / program, release=True)
    shutil.copy2(work / "tools/usr/bin/etcd", out / "etcd")


def _fetch(work: Path) -> None:
    apt = work / "apt"
    for folder in ("sources", "lists/partial", "archives/partial"):
        (apt / folder).mkdir(parents=True)
    (apt / "sources/debian.sources").write_text(_sources())
    options = {
        "Dir::Etc::SourceList": "/dev/null",
        "Dir::Etc::SourceParts": f"{apt}/sources",
        "Dir::State::Lists": f"{apt}/lists",
        "Dir::Cache": str(apt),
        "APT::Sandbox::User": "root",  # the folder of a person is closed to the user _apt
    }
    get = ["apt-get", "-qq", *(word for pair in options.items() for word in ("-o", "=".join(pair)))]
    _run([*get, "update"], work)
    _run([*get, "download", *_TOOLS], apt)
    _run([*get, "source", "--download-only", "kubernetes"], apt)
    for package in apt.glob("*.deb"):
        _run(["dpkg-deb", "--extract", str(package), str(work / "tools")], apt)
    (description,) = apt.glob(f"kubernetes_*really{VERSION}-*.dsc")
    _run(["dpkg-source", "--no-check", "--extract", str(description), str(work / "source")], apt)


def _sources() -> str:
    """Return where this machine gets Debian's packages from, asked for sources as well."""
    modern = Path("/etc/apt/sources.list.d/debian.sources")
    if modern.exists():
        return re.sub(r"(?m)^Types:.*$", "Types: deb deb-src", modern.read_text())
    lines = Path("/etc/apt/sources.list").read_text().splitlines()
    old = re.compile(rf"deb\s+(?:\[.*?\]\s+)?(\S+)\s+({RELEASE}\S*)\s+(.+)")
    found = [match.groups() for line in lines if (match := old.fullmatch(line.strip()))]
    return "\n".join(
        f"Types: deb deb-src\nURIs: {place}\nSuites: {suite}\nComponents: {parts}\n"
        for place, suite, parts in found
    )


def _patch(source: Path, tools: Path) -> None:
    # reflect2 1.0.1 walks maps by the layout that they had before Go 1.18.
    old = source / "vendor/github.com/modern-go/reflect2"
    new = tools / "usr/share/gocode/src/github.com/modern-go/reflect2"
    for pattern in ("*.go", "*.s"):
        for file in old.glob(pattern):
            file.unlink()
        for file in new.glob(pattern):
            shutil.copy2(file, old)
    # Since Go 1.18 this comparison takes every empty string for null, and `default: ""` in a
    # resource definition is refused.
    wrong = " || reflect.DeepEqual(reflect.Zero(reflect.TypeOf(data)), reflect.ValueOf(data))"
    for validator in (
        "k8s.io/kube-openapi/pkg/validation/validate",
        "github.com/go-openapi/validate",
    ):
        file = source / "vendor" / validator / "type.go"
        text = file.read_text()
        if wrong not in text:
            raise RuntimeError(f"{file}: has no {wrong!r}")
        file.write_text(text.replace(wrong, ""))
    add_policy_v1(source)
    # Made from the sources without policy/v1; it is made anew.
    (source / _GENERATED).unlink(missing_ok=True)


class _Go:
    """The Go of the package, in its mode without modules: 1.16 and later refuse this go.mod."""

    def __init__(self, work: Path, source: Path) -> None:
        self.work = work
        self.source = source
        root = work / "tools/usr/lib/go-1.19"
        self.program = root / "bin/go"
        path = work / "gopath"
        self.folder = path / "src/k8s.io/kubernetes"
        self.folder.parent.mkdir(parents=True)
        self.folder.symlink_to(source)
        self.environment = {
            "GOROOT": str(root),
            "GOPATH": str(path),
            "GOCACHE": str(work / "gocache"),
            "GO111MODULE": "off",
            "GOPROXY": "off",
            "GOFLAGS": "",
            "CGO_ENABLED": "0",
            "PATH": f"{root}/bin:{os.environ['PATH']}",
            # The shell's idea of the folder is the one below GOPATH; the kernel resolves the link.
            "PWD": str(self.folder),
        }

    def build(self, package: str, program: Path, *, release: bool = False) -> None:
        flags = [
            f"-X k8s.io/{place}version.{name}={value}"
            for place in ("kubernetes/vendor/k8s.io/client-go/pkg/",
                          "kubernetes/vendor/k8s.io/component-base/")
            for name, value in {
                "gitVersion": f"v{VERSION}", "gitMajor": "1", "gitMinor": "20",
                "gitTreeState": "clean", "gitCommit": _COMMIT, "buildDate": "2021-01-13T13:20:00Z",
            }.items()
        ]  # fmt: skip
        # Without providers of clouds it is half the size and half the time.
        options = ["-tags", "providerless", "-ldflags", " ".join(["-s -w", *flags])]
        self._run(["build", "-trimpath", "-p", "2", *(options if release else []), "-o",
                   str(program), package])  # fmt: skip

    def generate_openapi(self) -> None:
        """Write the Go file that is not in Debian's source, from the comments of the types."""
        generator = self.work / "openapi-gen"
        self.build("./vendor/k8s.io/kube-openapi/cmd/openapi-gen", generator)
        staging = self.source / "staging/src/k8s.io"
        folders = {
            f"k8s.io/kubernetes/vendor/k8s.io/{file.parent.relative_to(staging)}"
            for name in _OPENAPI_FOLDERS
            for file in (staging / name).rglob("*.go")
            if _OPENAPI_TAG in file.read_text()
        }
        package = f"k8s.io/kubernetes/{Path(_GENERATED).parent}"
        _run(
            [str(generator), "-i", ",".join(sorted(folders)), "-p", package,
             "-O", "zz_generated.openapi",
             "-h", "vendor/k8s.io/code-generator/hack/boilerplate.go.txt",
             "-r", str(self.work / "violations"), "--output-base", str(self.work / "generated")],
            self.folder, self.environment,
        )  # fmt: skip
        shutil.copy2(self.work / "generated/k8s.io/kubernetes" / _GENERATED,
                     self.source / _GENERATED)  # fmt: skip

    def _run(self, arguments: list[str]) -> None:
        _run([str(self.program), *arguments], self.folder, self.environment)


def _run(command: list[str], folder: Path, environment: Mapping[str, str] | None = None) -> None:
    subprocess.run(
        ["nice", "-n", "10", *command],
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        check=True,
    )
