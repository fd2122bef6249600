"""Look at a Sentinel-watched group from outside: its topology, its notices, where its primary is."""
