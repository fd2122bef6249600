"""Say what those who act ask of a lease."""

from typing import Protocol


class LeaseLike(Protocol):
    """The right to act, and the term that fences. Implemented by `lease.Lease`, `lease.NoLease`."""

    @property
    def holds(self) -> bool:
        """Whether we may act now."""
        ...

    @property
    def term(self) -> int:
        """Of our holding."""
        ...

    def rise_above(self, term: int) -> None:
        """Take a term above one that is written somewhere."""
        ...

    async def run(self) -> None:
        """Try to take and to keep it until cancelled."""
        ...

    async def release(self) -> None:
        """Give it back."""
        ...
