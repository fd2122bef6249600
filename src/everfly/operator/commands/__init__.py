"""What people call: `everfly operator` and `everfly k8s ...`."""
