"""One turn of the core: the state, the present instant, and the effects decided so far."""

import random
from dataclasses import dataclass, field

from everfly.core.alarms import Alarms
from everfly.core.effects import Connect, Disconnect, Effect, Explain, Notify, Persist, Purpose
from everfly.core.model import Address, Epoch, GroupName, Instant, LinkId, Millis, RunId
from everfly.core.notices import Event, Notice, Subject
from everfly.core.policy import Policy
from everfly.core.records import Group, Instance, Link, Peer, PeerLink, Timed


@dataclass(slots=True, eq=False)
class State:
    """All that one Sentinel knows."""

    me: RunId
    port: int
    policy: Policy
    dice: random.Random
    current_epoch: Epoch
    announce_host: str
    announce_port: int
    shows_hostnames: bool
    groups: dict[GroupName, Group] = field(default_factory=dict)
    links: dict[LinkId, tuple[Link, Instance | PeerLink]] = field(default_factory=dict)
    peer_links: dict[RunId, PeerLink] = field(default_factory=dict)
    alarms: Alarms = field(default_factory=Alarms)
    links_made: int = 0
    infos_counted_since: Instant = Instant(0)
    infos_counted: int = 0
    """Routine INFOs since then."""
    tilt_since: Instant | None = None
    by_primary: dict[Address, Group] | None = None
    """Index of groups by their primary's address; None after a change, made anew when needed."""
    crash_after_election: bool = False
    crash_after_promotion: bool = False

    def group_at(self, address: Address) -> Group | None:
        """Return the first group whose primary is at an address."""
        if self.by_primary is None:
            self.by_primary = {}
            for group in self.groups.values():
                self.by_primary.setdefault(group.primary.address, group)
        return self.by_primary.get(address)


@dataclass(slots=True, eq=False)
class Turn:
    """What the modules of the core pass to each other."""

    state: State
    now: Instant
    effects: list[Effect] = field(default_factory=list)

    def emit(self, effect: Effect) -> None:
        """Decide something."""
        self.effects.append(effect)

    def persist(self, *, is_urgent: bool = True) -> None:
        """Have the state so far written to disk."""
        self.effects.append(Persist(is_urgent))

    def wake(self, who: Timed, at: int) -> None:
        """Have `who` looked at by `at`."""
        if who.due is None or at < who.due:
            self.state.alarms.wake(who, Instant(at))

    def roll(self, below: Millis) -> int:
        """Roll the dice: 0 <= result < below."""
        return self.state.dice.randrange(below)

    def explain(self, group: Group, decision: str, *facts: str) -> None:
        """Tell why."""
        self.effects.append(Explain(group.name, decision, facts))

    # Words for people.

    def shown(self, address: Address) -> str:
        """Return the host as people and peers get to see it."""
        return address.host if self.state.shows_hostnames else address.ip or address.host

    def subject(self, what: Instance | Peer) -> Subject:
        """Describe an instance or a peer."""
        group = what.group
        host = self.shown(what.address)
        if what is group.primary:
            return Subject("master", group.name, host, what.address.port)
        primary = group.primary.address
        owner = (group.name, self.shown(primary), primary.port)
        if isinstance(what, Peer):
            return Subject("sentinel", what.run_id, host, what.address.port, owner)
        name = f"[{host}]:{what.address.port}" if ":" in host else f"{host}:{what.address.port}"
        return Subject("slave", name, host, what.address.port, owner)

    def notify(self, event: Event, what: Instance | Peer, detail: str = "") -> None:
        """Tell people something about an instance or a peer."""
        notice = Notice(event, what.group.name, self.subject(what), detail)
        self.effects.append(Notify(notice))

    def announce(self, event: Event, group: Group, detail: str) -> None:
        """Tell people something about a group in words of its own."""
        subject = self.subject(group.primary)
        self.effects.append(Notify(Notice(event, group.name, subject, detail, is_detail_only=True)))

    def proclaim(self, event: Event, detail: str) -> None:
        """Tell people something about this Sentinel as a whole."""
        self.effects.append(Notify(Notice(event, None, None, detail)))

    # Links.

    def open(self, link: Link, owner: Instance | PeerLink) -> None:
        """Start a connection attempt."""
        state = self.state
        state.links_made += 1
        link.id = LinkId(state.links_made)
        link.attempted_at = self.now
        link.attempts += 1
        link.pending = 0
        state.links[link.id] = (link, owner)
        group = owner.group.name if isinstance(owner, Instance) else None
        self.emit(Connect(link.id, owner.address, link.purpose, group))

    def lose(self, link: Link) -> None:
        """Note that a connection or an attempt is over."""
        if link.id is not None:
            self.state.links.pop(link.id)
            link.id = None
        link.is_up = False
        link.pending = 0
        if link.purpose is Purpose.COMMANDS and link.owes_since is None:
            link.owes_since = self.now

    def close(self, link: Link) -> None:
        """End a connection or an attempt of our own will."""
        if link.id is not None:
            self.emit(Disconnect(link.id))
        self.lose(link)
