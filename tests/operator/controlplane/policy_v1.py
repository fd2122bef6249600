"""Give the source of Kubernetes 1.20 the API group version policy/v1, which came in 1.21.

The PodDisruptionBudget of policy/v1 has the fields of v1beta1, so v1 becomes a renamed copy that
shares the storage of v1beta1. What evicts pods stays v1beta1 alone.
"""

import re
import shutil
from pathlib import Path
from typing import Final

_COPIED: Final = ("staging/src/k8s.io/api/policy", "pkg/apis/policy")
_INSTALL: Final = "pkg/apis/policy/install/install.go"
_STORAGE: Final = "pkg/registry/policy/rest/storage_policy.go"
_INSTANCE: Final = "pkg/controlplane/instance.go"
_AGGREGATOR: Final = "cmd/kube-apiserver/app/aggregator.go"
_SHARED_STORAGE: Final = """\
	if apiResourceConfigSource.VersionEnabled(policyapiv1.SchemeGroupVersion) {
		shared := map[string]rest.Storage{}
		for name, storage := range apiGroupInfo.VersionedResourcesStorageMap["v1beta1"] {
			if name != "podsecuritypolicies" {
				shared[name] = storage
			}
		}
		apiGroupInfo.VersionedResourcesStorageMap["v1"] = shared
	}
	return apiGroupInfo, true, nil"""


def add_policy_v1(source: Path) -> None:
    """Change the source tree once. Raise RuntimeError when it is not the one we know."""
    for folder in _COPIED:
        _copy_version(source / folder)
    old = '\t"k8s.io/kubernetes/pkg/apis/policy/v1beta1"'
    scheme = "utilruntime.Must(v1beta1.AddToScheme(scheme))"
    order = "SetVersionPriority(v1beta1.SchemeGroupVersion)"
    _replace(
        source / _INSTALL,
        (old, f'\tv1 "k8s.io/kubernetes/pkg/apis/policy/v1"\n{old}'),
        (scheme, f"{scheme}\n\tutilruntime.Must(v1.AddToScheme(scheme))"),
        (order, f"{order[:-1]}, v1.SchemeGroupVersion)"),
    )
    _replace(
        source / _STORAGE,
        ("import (\n", 'import (\n\tpolicyapiv1 "k8s.io/api/policy/v1"\n'),
        ("\treturn apiGroupInfo, true, nil", _SHARED_STORAGE),
    )
    old = '\tpolicyapiv1beta1 "k8s.io/api/policy/v1beta1"'
    served = "\t\tpolicyapiv1beta1.SchemeGroupVersion,"
    _replace(
        source / _INSTANCE,
        (old, f'\tpolicyapiv1 "k8s.io/api/policy/v1"\n{old}'),
        (served, f"\t\tpolicyapiv1.SchemeGroupVersion,\n{served}"),
    )
    # Every served group version needs a priority for discovery; v1 comes before v1beta1.
    old = '\t{Group: "policy", Version: "v1beta1"}'
    new = '\t{Group: "policy", Version: "v1"}: {group: 17100, version: 15},'
    _replace(source / _AGGREGATOR, (old, f"{new}\n{old}"))


def _copy_version(folder: Path) -> None:
    target = folder / "v1"
    shutil.copytree(folder / "v1beta1", target, ignore=shutil.ignore_patterns("BUILD"))
    # The life cycle file says when v1beta1 is to be removed.
    (target / "zz_generated.prerelease-lifecycle.go").unlink(missing_ok=True)
    for file in target.glob("*.go"):
        text = file.read_text()
        if re.search(r'^\s*v1 "k8s\.io', text, re.MULTILINE):
            # `v1` there is meta/v1 or core/v1 and would clash with the name of the package.
            text = re.sub(r'^(\s*)v1 "k8s\.io', r'\1otherv1 "k8s.io', text, flags=re.MULTILINE)
            text = re.sub(r'(^|[^A-Za-z0-9_."/])v1\.', r"\1otherv1.", text, flags=re.MULTILINE)
        text = text.replace("v1beta1", "v1").replace("V1beta1", "V1")
        file.write_text(text)


def _replace(file: Path, *changes: tuple[str, str]) -> None:
    text = file.read_text()
    for old, new in changes:
        if text.count(old) != 1:
            raise RuntimeError(f"{file}: {old!r} is there {text.count(old)} times, not once")
        text = text.replace(old, new)
    file.write_text(text)
