"""A Sentinel's port in front of the data stores that the operator keeps in Kubernetes."""
