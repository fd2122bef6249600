"""Turn one instance and one wanted secret into the step that brings them together.

Rules: how an instance is now is asked, not remembered; a step returns whether nothing is left to
do, and within seconds; what is mounted reaches an instance some time after the Secret changed, so
its reading is repeated at growing intervals until what the instance shows is what is wanted.
"""

from dataclasses import dataclass, field
from typing import Final

from everfly.core.group_view import Member
from everfly.core.model import Address
from everfly.errors import RemoteError, Unavailable
from everfly.operator.names import DATA_PORT
from everfly.operator.secrets.acl import DEFAULT, Users, difference
from everfly.operator.secrets.orders import SecretOrders
from everfly.operator.secrets.tls import served_certificate

LOADS_S: Final = (3.0, 10.0, 30.0, 90.0)
"""When a file of users is read again after its pod was told: each reading cuts connections of its
users. A platform renews mounted files at once when a pod changes; where it does so by polling it
takes up to a period of the kubelet and one of its cache, a minute each."""
LOAD_LATE_S: Final = 600.0
"""Between readings after all of these were in vain."""
LOADS_MAX: Final = len(LOADS_S) + 3
"""After which it is left at that and told: readings that change nothing only cut connections."""
RELOADS_S: Final = (3.0, 15.0, 60.0, 120.0)
"""When the authority of clients is read again: nobody can ask whether it was. It cuts nobody."""
CERTIFICATE_S: Final = 2.0
"""Between readings of a certificate, which cut nobody and can be verified."""
CERTIFICATE_LATE_S: Final = 10.0
CERTIFICATE_EARLY: Final = 15
"""How many readings are early ones."""


@dataclass
class Seat:
    """How far one process of an instance is with one wanted secret."""

    begun_at: float
    """Of the clock that counts; s."""
    readings: int = 0
    next_at: float | None = None
    has_acted: bool = False
    """Whether it was told anything."""
    note: str = ""
    """What people should know of it."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What all instances of a data store should have, as far as it is known and not refused."""

    password: bytes | None = field(default=None, repr=False)
    users: Users | None = None
    is_file_of_users: bool = False
    """Whether there is a file of users, known or not."""
    certificate: bytes = b""
    """As it goes over the wire."""
    data_port: int = DATA_PORT


@dataclass(frozen=True, slots=True)
class Moment:
    """Of one step: when it is, and what of the past counts."""

    now: float
    has_changed: bool
    """Whether a change was seen, or begun before us: what was found at first may be on purpose."""
    is_first: bool = False
    """Whether the secret was first seen when we came to this process."""


async def settle_password(member: Member, goal: Goal, moment: Moment, seat: Seat) -> bool:
    """See that the wanted password and no other lets in the user `default`."""
    assert goal.password is not None
    if goal.is_file_of_users and goal.users is None:
        return False  # whether the file names `default` is not known
    if goal.users is not None and DEFAULT in goal.users:
        return True  # the file has the last word
    orders = _orders(member)
    user = (await orders.users()).get(DEFAULT)
    if user is not None and user.lets_in_by(goal.password):
        return True
    is_open = user is not None and user.needs_no_password
    if is_open and goal.is_file_of_users and not moment.has_changed:
        # Before 1.37 Dragonfly ignores the password beside a file of users. Whoever relies on that
        # would be shut out the moment we take over.
        seat.note = f"{member.name} lets in anybody as {DEFAULT}: add {DEFAULT} to the users' file"
        return True
    seat.has_acted = True
    await orders.set_password(goal.password)
    user = (await orders.users()).get(DEFAULT)
    if user is None or not user.lets_in_by(goal.password):
        raise RemoteError(f"{member.name} accepted its password and lists another one")
    return True


async def settle_users(member: Member, goal: Goal, moment: Moment, seat: Seat) -> bool:
    """See that it has the users of the file, once its own copy of the file is the new one."""
    assert goal.users is not None
    orders = _orders(member)
    before = await orders.users()
    found = difference(goal.users, before)
    if found.is_none:
        return True
    if not moment.has_changed and not found.wrong:
        if found.extra:
            seat.note = f"{member.name} has users that the file does not name"
        return True
    if not _is_due(seat, moment, LOADS_S):
        return False
    user = before.get(DEFAULT)
    seat.has_acted = True
    is_ours = DEFAULT not in goal.users and user is not None and not user.needs_no_password
    await orders.load_users(goal.password if is_ours else None)
    after = await orders.users()
    found = difference(goal.users, after)
    # Rules in other words than ours, and in others than before: it read the new file.
    is_read = after != before or seat.readings + 1 >= len(LOADS_S)
    if found.is_none or (not found.is_of_entry and is_read):
        return True
    _plan_next(seat, moment, LOADS_S, LOAD_LATE_S)
    if seat.readings >= len(LOADS_S):
        seat.note = f"{member.name} read its file {seat.readings} times and lists other users"
    return seat.readings >= LOADS_MAX


async def settle_certificate(member: Member, goal: Goal, moment: Moment, seat: Seat) -> bool:
    """See that its data port shows the wanted certificate."""
    assert member.address is not None
    port = Address(member.address.host, goal.data_port, member.address.ip)
    try:
        is_shown = await _shown(port) == goal.certificate
    except Unavailable:
        # A policy of the network may keep us out, and clients all the same let in.
        seat.note = (
            f"{member.name}: which certificate it shows is not known: we do not reach {port}"
        )
        return await _read_unseen(member, moment, seat)
    if is_shown:
        return True
    if not _is_due(seat, moment, (0.0,)):
        return False
    seat.has_acted = True
    await _orders(member).reload_certificates()
    shown = await _shown(port)
    if shown == goal.certificate:
        return True
    is_early = seat.readings < CERTIFICATE_EARLY
    seat.next_at = moment.now + (CERTIFICATE_S if is_early else CERTIFICATE_LATE_S)
    seat.readings += 1
    if not is_early:
        what = "another certificate" if shown else "no certificate"
        seat.note = f"{member.name} shows {what} after {seat.readings} readings"
    return False


async def settle_client_ca(member: Member, _: Goal, moment: Moment, seat: Seat) -> bool:
    """See that it read the authority of clients after its own copy became the new one."""
    return await _read_unseen(member, moment, seat)


async def _read_unseen(member: Member, moment: Moment, seat: Seat) -> bool:
    """Have files of TLS read often enough, where nobody can see whether it did."""
    if not moment.is_first and not moment.has_changed:
        return True  # it started long after the last change
    # What happened before we came is not known, and one reading more does no harm.
    times = RELOADS_S if moment.has_changed else (0.0,)
    if not _is_due(seat, moment, times):
        return False
    seat.has_acted = not moment.is_first
    await _orders(member).reload_certificates()
    _plan_next(seat, moment, times, CERTIFICATE_LATE_S)
    return seat.readings >= len(times)


def _is_due(seat: Seat, moment: Moment, times: tuple[float, ...]) -> bool:
    if seat.next_at is None:
        seat.next_at = seat.begun_at + times[0]
    return moment.now >= seat.next_at


def _plan_next(seat: Seat, moment: Moment, times: tuple[float, ...], late_s: float) -> None:
    seat.readings += 1
    is_early = seat.readings < len(times)
    seat.next_at = seat.begun_at + times[seat.readings] if is_early else moment.now + late_s


def _orders(member: Member) -> SecretOrders:
    assert member.address is not None
    return SecretOrders(member.address)


async def _shown(port: Address) -> bytes:
    """Return the certificate of a port; nothing where no handshake succeeds. Raise Unavailable."""
    try:
        return await served_certificate(port)
    except RemoteError:
        return b""
