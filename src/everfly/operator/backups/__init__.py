"""Backups of data stores, schedules of them, and data stores that begin with one.

A *ferry* is an instance of its own that carries data between a data store and a place to keep them:
it follows the primary, lets go and writes a snapshot; or it reads a snapshot, and the first primary
copies from it. No volume of the data store is needed, and clients feel nothing of it.
"""
