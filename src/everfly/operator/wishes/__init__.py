"""What people want: the `spec` of a resource as frozen values, each wrong field named."""
