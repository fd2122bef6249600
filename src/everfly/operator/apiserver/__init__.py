"""What the API server holds and what is written there: requests, watches, the Lease, events."""
