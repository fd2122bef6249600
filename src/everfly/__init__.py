"""Everfly keeps a Dragonfly, Valkey or Redis data store always on."""

__version__ = "0.1.0.dev0"
