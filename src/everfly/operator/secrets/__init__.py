"""What Secrets hold, and how running instances are given it. No value is ever shown."""
