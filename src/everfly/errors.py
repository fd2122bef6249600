"""The errors of Everfly, by whose fault they are.

    EverflyError
    ├── LocalError      we misused something: a bug
    ├── RemoteError     a peer or an instance broke the protocol
    ├── Unavailable     expected now and then; try again later
    └── SettingsError   a person can fix it; the message says how

An error is translated into one of these once, at the boundary where it is caught. In the core an
expected failure is an input, not an exception.
"""


class EverflyError(Exception):
    """Base of all errors that Everfly raises on purpose."""


class LocalError(EverflyError):
    """We misused something of our own."""


class RemoteError(EverflyError):
    """The other side broke the protocol."""


class Unavailable(EverflyError):  # noqa: N818 - it names a state, not a fault
    """Not reachable or not ready now; a later try may succeed."""


class SettingsError(EverflyError):
    """A setting, a file or an argument is wrong; the message says which and what to do."""
