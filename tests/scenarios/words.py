"""Turn effects and views of the core into the lines of a story, by the names that it uses."""

from collections.abc import Callable, Mapping
from typing import assert_never

from everfly.core.effects import (
    Accepted,
    Answer,
    Ask,
    Connect,
    Counted,
    Crash,
    Disconnect,
    Effect,
    Explain,
    Notify,
    PauseWrites,
    Persist,
    Reconfigure,
    ReconfigureClients,
    Refused,
    Result,
    ResumeWrites,
    SendHello,
    SendInfo,
    SendPing,
    SendScriptKill,
    TakeOver,
    Vote,
)
from everfly.core.model import Address, LinkId, RunId
from everfly.core.notices import Level
from everfly.core.snapshot import DurableState, GroupView, InstanceView, PeerView

TOPICS = ("pings", "infos", "hellos", "links", "asks")
"""What a story leaves out unless it says `show`. Of asks only the repeated ones are left out."""


def topic_of(effect: Effect) -> str | None:
    """Return what a story must `show` to see an effect; None: always seen."""
    match effect:
        case SendPing():
            return "pings"
        case SendInfo():
            return "infos"
        case SendHello():
            return "hellos"
        case Connect() | Disconnect():
            return "links"
        case Notify() if effect.notice.event.level is Level.DEBUG:
            return "links"
        case _:
            return None


class Words:
    """Names of places and Sentinels."""

    def __init__(self) -> None:
        self.places: dict[Address, str] = {}
        self.sentinels: dict[RunId, str] = {}

    def place(self, address: Address) -> str:
        return self.places.get(address, str(address))

    def sentinel(self, run_id: RunId | None) -> str:
        return "nobody" if run_id is None else self.sentinels.get(run_id, str(run_id))

    def plain(self, text: str) -> str:
        """Put names where run ids stand: nobody remembers 40 digits."""
        for run_id, name in self.sentinels.items():
            text = text.replace(run_id, name)
        return text

    def effect(self, effect: Effect, links: Mapping[LinkId, str]) -> str:
        """Return one effect as a line. `links` names what each link leads to."""
        match effect:
            case Notify():
                notice = effect.notice
                return self.plain(f"{notice.event.wire} {notice.payload}")
            case Explain():
                facts = f": {'; '.join(effect.facts)}" if effect.facts else ""
                return self.plain(f"because {effect.decision}{facts}")
            case Reconfigure() | TakeOver() | PauseWrites() | ResumeWrites():
                return self._order(effect, links[effect.link])
            case ReconfigureClients():
                role = "leader" if effect.is_leader else "observer"
                return (
                    f"move clients of {effect.group} from {self.place(effect.old)} "
                    f"to {self.place(effect.new)}, as {role}"
                )
            case Answer():
                return f"answer {self._result(effect.result)}"
            case Persist():
                return "persist" if effect.is_urgent else "persist later"
            case Crash():
                return "crash"
            case _:
                return self._traffic(effect, links)

    def _order(self, effect: Reconfigure | TakeOver | PauseWrites | ResumeWrites, to: str) -> str:
        match effect:
            case Reconfigure():
                assert self.place(effect.instance) == to, "the order goes to whom it names"
                what = f"follow {self.place(effect.follow)}" if effect.follow else "become primary"
                return f"order {to} to {what}, epoch {effect.epoch}"
            case TakeOver():
                assert self.place(effect.replica) == to, "the order goes to whom it names"
                return f"order {to} to take over in {effect.limit} ms, epoch {effect.epoch}"
            case PauseWrites():
                return f"pause writes at {to} for {effect.limit} ms"
            case ResumeWrites():
                return f"resume writes at {to}"
            case _:
                assert_never(effect)

    def _traffic(
        self,
        effect: Connect | Disconnect | SendPing | SendInfo | SendHello | SendScriptKill | Ask,
        links: Mapping[LinkId, str],
    ) -> str:
        to = links[effect.link]
        match effect:
            case Connect():
                credentials = f", credentials of {effect.group}" if effect.group else ""
                return f"connect {to}{credentials}"
            case Disconnect():
                return f"disconnect {to}"
            case SendPing():
                return f"ping {to}"
            case SendInfo():
                return f"info {to}"
            case SendScriptKill():
                return f"script kill {to}"
            case SendHello():
                hello = effect.hello
                return (
                    f"hello to {to}: I am {hello.sender}, {hello.group} is at "
                    f"{self.place(hello.primary)}, epoch {hello.current_epoch}, "
                    f"config epoch {hello.config_epoch}"
                )
            case Ask():
                wish = f", vote for {self.sentinel(effect.candidate)}" if effect.candidate else ""
                return (
                    f"ask {to}: is {self.place(effect.primary)} down, epoch {effect.epoch}{wish}?"
                )
            case _:
                assert_never(effect)

    def _result(self, result: Result) -> str:
        match result:
            case Accepted():
                return "accepted"
            case Refused():
                reason = f", {result.reason}" if result.reason else ""
                return f"refused: {result.why.value}{reason}"
            case Counted():
                return f"count {result.count}"
            case Vote():
                down = "down" if result.is_down else "up"
                return f"{down}, vote {self.sentinel(result.leader)}, epoch {result.leader_epoch}"
            case _:
                assert_never(result)

    # Pictures.

    def group(self, view: GroupView) -> list[str]:
        """Return a group's picture as lines."""
        reach = ("" if view.can_reach_quorum else "no ") + "quorum"
        authority = ("" if view.can_authorize else "no ") + "majority"
        whole = (
            f"{view.name} is at {self.place(view.current_address)}, config epoch "
            f"{view.config_epoch}, failover {view.failover_state or 'none'}, "
            f"{view.usable_sentinels} usable sentinels: {reach}, {authority}"
        )
        return [
            whole,
            *(self._instance(one) for one in (view.primary, *view.replicas)),
            *(self._peer(peer) for peer in view.peers),
        ]

    def _instance(self, view: InstanceView) -> str:
        facts = [
            f"{self.place(view.address)} ({view.name}) {','.join(view.flags)}",
            f"says {view.role_reported}",
        ]
        numbers: list[tuple[str, Callable[[], int | None]]] = [
            ("pending", lambda: view.link.pending),
            ("s_down for", lambda: view.s_down_for),
            ("o_down for", lambda: view.o_down_for),
            ("info ago", lambda: view.info_ago),
        ]
        facts += [f"{label} {number()}" for label, number in numbers if number() is not None]
        return ", ".join(facts)

    def _peer(self, view: PeerView) -> str:
        vote = f"voted {self.sentinel(view.voted_leader)} in {view.voted_leader_epoch}"
        down = "says down" if view.says_down else "says up"
        return (
            f"{self.sentinel(view.run_id)} at {view.address} {','.join(view.flags)}, "
            f"{down}, {vote}, shared by {view.link.shared_by}, pending {view.link.pending}"
        )

    def durable(self, state: DurableState) -> list[str]:
        """Return what is on disk as lines."""
        lines = [f"{self.sentinel(state.me)}, current epoch {state.current_epoch}"]
        for group in state.groups:
            replicas = ", ".join(map(self.place, group.replicas)) or "none"
            peers = ", ".join(self.sentinel(run_id) for _, run_id in group.peers) or "none"
            lines.append(
                f"{group.name} at {self.place(group.primary)}, config epoch {group.config_epoch}, "
                f"leader epoch {group.leader_epoch}, replicas {replicas}, sentinels {peers}"
            )
        return lines
