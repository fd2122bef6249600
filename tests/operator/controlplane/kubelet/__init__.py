"""Nodes of a cluster whose pods are real processes of this machine.

One asyncio program plays all nodes. A pod has a network namespace and an address of its own on a
bridge; a container is a copy-on-write view of this machine's files with namespaces for mounts,
processes and the host's name. What is played: init containers, commands, environments, volumes
(configMap and secret are kept up to date, projected tokens are real), exec, TCP and HTTP probes,
preStop, readiness gates, restarts with back-off, graceful deletion, dead and isolated nodes.

Not played: limits of memory and CPU, users, DNS, ClusterIPs (use Endpoints), NetworkPolicies.
"""
