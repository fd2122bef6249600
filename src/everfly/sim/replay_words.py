"""Say in a few words what came into the core and what it ordered, for people who read a replay.

Rules: routine (connections, PING, INFO, hellos, questions whether a primary is down) is no order
worth telling; what is not known here is told as it is, so that nothing new is hidden.
"""

from collections.abc import Mapping

from everfly.core import inputs
from everfly.core.effects import (
    Accepted,
    Answer,
    Ask,
    Connect,
    Counted,
    Crash,
    Disconnect,
    Effect,
    PauseWrites,
    Persist,
    Reconfigure,
    ReconfigureClients,
    Refused,
    ResumeWrites,
    SendHello,
    SendInfo,
    SendPing,
    SendScriptKill,
    TakeOver,
    Vote,
)
from everfly.core.inputs import Input
from everfly.core.model import InstanceReport, LinkId

Links = Mapping[LinkId, str]
"""Where links lead."""


def cause_of(fact: Input | None, links: Links) -> str:  # noqa: C901, PLR0912 - one case a fact
    """Say what came in."""
    match fact:
        case None:
            return "the start"
        case inputs.TimerExpired():
            return "time passed"
        case inputs.Connected(link=link):
            return f"{_at(link, links)} is connected"
        case inputs.LinkLost(link=link, reason=reason):
            return f"{_at(link, links)} is lost: {reason}"
        case inputs.Ponged(link=link, reply=reply):
            return f"{_at(link, links)} answers PING: {reply}"
        case inputs.InfoReceived(link=link, report=report):
            return f"INFO of {_at(link, links)}: {_said(report)}"
        case inputs.HelloHeard(hello=hello):
            return (
                f"hello of {hello.sender}: {hello.group} at {hello.primary}, config epoch "
                f"{hello.config_epoch}, epoch {hello.current_epoch}"
            )
        case inputs.AskReplied(link=link):
            view = "down" if fact.is_down else "not down"
            vote = "" if fact.leader is None else f", voted {fact.leader} in {fact.leader_epoch}"
            return f"{_at(link, links)} says: {view}{vote}"
        case inputs.VoteRequested(candidate=None):
            return f"a peer asks whether {fact.primary} is down"
        case inputs.VoteRequested():
            return f"{fact.candidate} asks for our vote in epoch {fact.epoch}"
        case inputs.Reconfigured(link=link, error=error):
            return f"{_at(link, links)} took its new role: {error or 'done'}"
        case inputs.TakeOverAnswered(link=link, error=error):
            return f"{_at(link, links)} about its take-over: {error or 'done'}"
        case inputs.PauseAnswered(link=link, error=error):
            what = "pauses writes" if fact.is_paused else "resumes writes"
            return f"{_at(link, links)} {what}: {error or 'done'}"
        case inputs.CommandRefused(link=link, reason=reason):
            return f"{_at(link, links)} refuses a command: {reason}"
        case inputs.FailoverRequested():
            return f"people ask for a failover of {fact.group}"
        case _:
            return str(fact)


def order_of(effect: Effect, links: Links) -> str:  # noqa: C901, PLR0912 - one case an effect
    """Say what was ordered or answered; empty for routine."""
    match effect:
        case (
            Connect()
            | Disconnect()
            | SendPing()
            | SendInfo()
            | SendHello()
            | Persist(is_urgent=False)
            | Ask(candidate=None)
            | Answer(result=Accepted() | Counted() | Vote(leader=None))
        ):
            return ""
        case Persist():
            return "saves its state"
        case Ask(link=link):
            return f"asks {_at(link, links)} for its vote in epoch {effect.epoch}"
        case Reconfigure(follow=None):
            return f"tells {effect.instance} to become a primary, epoch {effect.epoch}"
        case Reconfigure():
            return f"tells {effect.instance} to follow {effect.follow}, epoch {effect.epoch}"
        case TakeOver():
            return f"tells {effect.replica} to take over, epoch {effect.epoch}"
        case PauseWrites(link=link, limit=limit):
            return f"has {_at(link, links)} hold writes for at most {limit} ms"
        case ResumeWrites(link=link):
            return f"lets {_at(link, links)} take writes again"
        case SendScriptKill(link=link):
            return f"kills the script that keeps {_at(link, links)} busy"
        case ReconfigureClients():
            role = "leader" if effect.is_leader else "observer"
            return f"clients move from {effect.old} to {effect.new} ({role})"
        case Answer(result=Vote() as vote):
            return f"answers: voted {vote.leader} in epoch {vote.leader_epoch}"
        case Answer(result=Refused(why=why)):
            return f"refuses: {why.value}"
        case Crash():
            return "ends the process, as it was asked to"
        case _:
            return str(effect)


def _at(link: LinkId, links: Links) -> str:
    return links.get(link, f"link {link}")


def _said(report: InstanceReport) -> str:
    if report.role is None:
        return "no role"
    offset = "" if report.offset is None else f", offset {report.offset}"
    if report.primary is None:
        return f"{report.role.value}{offset}"
    link = "up" if report.primary_link_up else "down"
    return f"{report.role.value} of {report.primary}, link {link}{offset}"
