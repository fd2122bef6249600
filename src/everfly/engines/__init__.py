"""What differs between Dragonfly, Valkey and Redis: flags, INFO dialect, how to find and start one."""
