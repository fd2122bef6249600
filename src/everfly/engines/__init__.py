"""Turn what differs between Dragonfly, Valkey and Redis into one dialect; find their binaries."""
