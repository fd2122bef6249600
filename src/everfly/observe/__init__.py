"""Look at a Sentinel-watched group from outside: its topology, its events, its primary."""
