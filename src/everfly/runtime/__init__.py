"""The asyncio shell that all homes share: driver, executor, links, listener, files, processes."""
