"""`everfly sentinel`: the core behind Redis Sentinel's commands, events and `sentinel.conf`."""
