"""The Kubernetes operator for the `Dragonfly` resource."""
