"""Let properties take the time that a loaded machine needs; the limit of a test still holds."""

from hypothesis import settings

settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")
