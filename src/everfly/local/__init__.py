"""`everfly up`: a small always-on deployment of processes on this machine."""
