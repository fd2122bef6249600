"""Turn steps of an authority into a changed world of instances and replication, without any IO.

Small on purpose: an instance has the writes it holds, a history and whom it follows; clients write
to whoever is led to as the primary. What is checked is what people would lose or see.
"""

from dataclasses import dataclass, field, replace

from everfly.core.group_view import (
    Contact,
    Facts,
    GroupPolicy,
    GroupView,
    Intent,
    Member,
    Memory,
    Rebuild,
    Record,
    Service,
)
from everfly.core.model import Address, Instant, Millis, Role
from everfly.core.steps import (
    BringIntoService,
    ClearRequest,
    Delete,
    Fence,
    Follow,
    Promote,
    Step,
    TakeOutOfService,
    TakeOver,
    WriteRecord,
)

POLICY = GroupPolicy(lag_max=0)


@dataclass
class Pod:
    name: str
    ordinal: int
    incarnation: int = 0
    is_alive: bool = True
    is_linked: bool = True
    """Its network works, for us and for all others."""
    is_heard: bool = True
    """We reach it."""
    is_host_ready: bool = True
    is_terminating: bool = False
    is_current: bool = True
    is_fenced: bool = False
    is_condemned: bool = False
    """Its disk is given up: it is to come back empty."""
    role: Role = Role.PRIMARY
    history: str = ""
    promoted_from: str = ""
    writes: set[int] = field(default_factory=set)
    disk: set[int] = field(default_factory=set)
    leader: str = ""
    service: Service = Service.NONE
    led_by: str = ""
    failing_since: Instant | None = None
    answered_at: Instant | None = None
    link_down_since: Instant | None = None
    last_facts: Facts | None = None
    zone: str = ""

    @property
    def address(self) -> Address:
        return Address(f"10.0.0.{self.ordinal}", 9999)


class World:
    def __init__(self, count: int = 3, *, has_snapshots: bool = False) -> None:
        self.now = Instant(1_000_000)
        self.pods = {f"p-{i}": Pod(f"p-{i}", i) for i in range(count)}
        self.record = Record()
        self.intent = Intent(replicas=count, running=count, has_snapshots=has_snapshots)
        self.memory = Memory()
        self.term = 1
        self.acknowledged: set[int] = set()
        self.histories = 0
        self.promoted: dict[int, set[str]] = {}
        self.fires_late = False
        self.take_over_works = True
        self.requests: list[ClearRequest] = []
        for pod in self.pods.values():
            pod.history = self.new_history()

    def new_history(self) -> str:
        self.histories += 1
        return f"{self.histories:040d}"

    # What happens in the world

    def leader_of(self, pod: Pod) -> Pod | None:
        leader = self.pods.get(pod.leader)
        is_fed = (
            leader is not None
            and leader.is_alive
            and leader.role is Role.PRIMARY
            and leader.is_linked
            and pod.is_linked
            and pod.is_alive
            and pod.history == leader.history
        )
        return leader if is_fed else None

    def write(self) -> bool:
        """A client writes where it is led; acknowledged writes reach all that are connected."""
        for pod in self.pods.values():
            is_led = pod.service is Service.PRIMARY and pod.is_alive and pod.is_linked
            if is_led and pod.role is Role.PRIMARY:
                number = len(self.acknowledged) + 1
                self.acknowledged.add(number)
                pod.writes.add(number)
                for each in self.pods.values():
                    if each.role is Role.REPLICA and self.leader_of(each) is pod:
                        each.writes.add(number)
                return True
        return False

    def kill(self, name: str, *, saves: bool = False) -> None:
        """The process ends. An orderly end leaves its dataset on disk."""
        pod = self.pods[name]
        if saves and self.intent.has_snapshots and pod.is_alive:
            pod.disk = set(pod.writes)
        pod.is_alive = False

    def start(self, name: str) -> None:
        pod = self.pods[name]
        pod.is_alive, pod.role, pod.leader = True, Role.PRIMARY, ""
        pod.history, pod.promoted_from = self.new_history(), ""
        pod.incarnation += 1
        pod.writes = set(pod.disk)
        pod.last_facts = pod.link_down_since = None
        pod.answered_at = pod.failing_since = None

    def replace_pod(self, name: str) -> None:
        self.kill(name, saves=True)
        pod = self.pods[name]
        pod.service, pod.led_by, pod.is_terminating, pod.is_current = Service.NONE, "", False, True
        if pod.is_condemned:
            pod.is_condemned, pod.disk = False, set()
        self.start(name)

    def scale(self) -> None:
        """The platform does what it was asked: drops the highest numbers, adds the next ones."""
        for name, pod in list(self.pods.items()):
            if pod.ordinal >= self.intent.running:
                del self.pods[name]
        for i in range(self.intent.running):
            if f"p-{i}" not in self.pods:
                self.pods[f"p-{i}"] = Pod(f"p-{i}", i, history=self.new_history())

    # What the authority sees

    def facts(self, pod: Pod) -> Facts:
        if pod.role is Role.PRIMARY:
            fed = [each for each in self.pods.values() if self.leader_of(each) is pod]
            return Facts(
                Role.PRIMARY,
                pod.history,
                keys=len(pod.writes),
                online_replicas=tuple(each.address.host for each in fed if each is not pod),
                promoted_from=pod.promoted_from,
            )
        leader = self.pods.get(pod.leader)
        is_up = self.leader_of(pod) is not None
        return Facts(
            Role.REPLICA,
            pod.history,
            offset=len(pod.writes),
            primary=leader.address if leader is not None else Address("10.9.9.9", 9999),
            is_link_up=is_up,
            link_silent_for=Millis(0) if is_up else Millis(1000),
            keys=len(pod.writes),
        )

    def observe(self) -> GroupView:
        members = []
        for pod in self.pods.values():
            answers = pod.is_alive and pod.is_linked and pod.is_heard
            if answers:
                pod.answered_at, pod.failing_since = self.now, None
                pod.last_facts = self.facts(pod)
                is_down = pod.role is Role.REPLICA and not pod.last_facts.is_link_up
                if not is_down:
                    pod.link_down_since = None
                elif pod.link_down_since is None:
                    pod.link_down_since = self.now
            elif pod.failing_since is None:
                pod.failing_since = self.now
            members.append(self.member(pod))
        return GroupView(tuple(members), self.record, self.intent, self.term, POLICY, self.memory)

    def member(self, pod: Pod) -> Member:
        return Member(
            name=pod.name,
            ordinal=pod.ordinal,
            address=pod.address,
            zone=pod.zone,
            incarnation=str(pod.incarnation),
            facts=pod.last_facts,
            contact=Contact(pod.answered_at, pod.failing_since, is_refused=not pod.is_alive),
            link_down_since=pod.link_down_since,
            service=pod.service,
            led_by=pod.led_by,
            is_ready=pod.is_alive,
            is_terminating=pod.is_terminating,
            is_host_ready=pod.is_host_ready,
            is_current=pod.is_current,
            is_fenced=pod.is_fenced,
            is_process_gone=not pod.is_alive and pod.is_host_ready,
            rebuild=Rebuild(is_begun=True) if pod.is_condemned else None,
        )

    # What the authority does

    def apply(self, step: Step) -> bool:
        """Carry out a step; whether the ones after it may follow."""
        match step:
            case WriteRecord(record):
                assert record.epoch >= self.record.epoch
                self.record = record
            case TakeOutOfService(name):
                self.pods[name].service = Service.NONE
            case BringIntoService(name, service, primary):
                pod = self.pods[name]
                pod.service, pod.led_by = service, primary.host
            case Fence() | ClearRequest():
                if isinstance(step, ClearRequest):
                    self.requests.append(step)
                    self.intent = replace(self.intent, switch_to="")
            case TakeOver(name, away_from):
                self.promoted.setdefault(self.record.epoch, set()).add(name)
                return self.take_over(name, away_from)
            case Promote(name, history):
                self.check_fullest(self.pods[name])
                self.promoted.setdefault(self.record.epoch, set()).add(name)
                return self.promote(name, history)
            case Follow(name, primary):
                self.follow(self.pods[name], self.pods[primary])
            case Delete(name):
                self.replace_pod(name)
        return True

    def answers(self, pod: Pod) -> bool:
        return pod.is_alive and pod.is_linked and pod.is_heard

    def promote(self, name: str, history: str) -> bool:
        pod = self.pods[name]
        if not self.answers(pod):
            return False
        if pod.role is Role.REPLICA:
            if history and pod.history != history:
                return False
            self.become_primary(pod)
        return True

    def check_fullest(self, pod: Pod) -> None:
        """Nobody of our history who could be asked, and was seen to hold more, is passed over."""
        lineage = self.record.lineage
        for other in self.pods.values():
            facts = other.last_facts
            if lineage is None or facts is None or not self.answers(other) or other.is_fenced:
                continue
            is_ours = facts.role is Role.REPLICA and facts.history == lineage.history
            if is_ours and not other.is_terminating and pod.history != facts.history:
                raise AssertionError(f"{pod.name} holds another history than {other.name}")
            if is_ours and not other.is_terminating:
                assert len(other.writes) <= len(pod.writes), f"{other.name} holds more"

    def become_primary(self, pod: Pod) -> None:
        pod.promoted_from, pod.history = pod.history, self.new_history()
        pod.role, pod.leader = Role.PRIMARY, ""

    def take_over(self, name: str, away_from: str) -> bool:
        pod, old = self.pods[name], self.pods[away_from]
        if not self.answers(pod):
            return False
        if pod.role is Role.PRIMARY:
            return True
        if self.leader_of(pod) is not old or not self.take_over_works:
            if self.fires_late:
                self.memory = replace(self.memory, failed_take_over=name)
            else:
                self.memory = replace(self.memory, refused_take_over=name)
            return False
        pod.writes |= old.writes
        self.become_primary(pod)
        self.kill(away_from, saves=True)
        self.start(away_from)
        return True

    def follow(self, pod: Pod, primary: Pod) -> None:
        if not self.answers(pod):
            return
        if not (primary.is_alive and primary.is_linked and primary.role is Role.PRIMARY):
            return
        pod.role, pod.leader = Role.REPLICA, primary.name
        pod.history, pod.writes = primary.history, set(primary.writes)
        pod.promoted_from = ""

    # What must hold

    def led(self) -> list[Pod]:
        return [pod for pod in self.pods.values() if pod.service is Service.PRIMARY]

    def why_unwell(self) -> str:
        """Return what is missing to a group in order, or an empty text."""
        led = self.led()
        if len(led) != 1:
            return f"{len(led)} are led to as primaries"
        primary = led[0]
        if primary.name != self.record.primary or self.record.move is not None:
            return f"the record says {self.record}"
        if not (primary.is_alive and primary.role is Role.PRIMARY):
            return f"{primary.name} is no primary"
        for pod in self.pods.values():
            if pod is primary or not self.answers(pod) or pod.is_fenced or pod.is_terminating:
                continue
            if self.leader_of(pod) is not primary or pod.service is not Service.REPLICA:
                return f"{pod.name} does not follow {primary.name}: {pod}"
            if pod.is_condemned:
                return f"{pod.name} is to be rebuilt"
        return ""
