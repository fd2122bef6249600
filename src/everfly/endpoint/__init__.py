"""The managed endpoint: one stable address that follows the primary of a group."""
