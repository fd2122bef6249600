"""A real Kubernetes control plane of this machine, with nodes whose pods are real processes.

etcd, kube-apiserver, kube-controller-manager and kube-scheduler of one version, built from Debian's
source package, in a network namespace of their own; and a kubelet (`kubelet/`) that runs the
containers of pods as processes with addresses of their own. Tests ask for the fixture `cluster`.
"""
