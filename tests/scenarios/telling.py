"""The state of a story while it is told, and the words that its commands share."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from everfly.core.effects import Ask, Purpose
from everfly.core.model import (
    Address,
    Engine,
    Epoch,
    HandOver,
    InstanceReport,
    Millis,
    Role,
    RunId,
    Token,
)
from everfly.core.policy import GroupSettings
from everfly.core.snapshot import DurableState
from scenarios.surroundings import AskAnswer, Party, Surroundings, run_id_of
from scenarios.words import Words, topic_of

Options = dict[str, str]

HEALTHY = GroupSettings(quorum=2, down_after=Millis(1000), failover_timeout=Millis(4000))


@dataclass(frozen=True)
class Line:
    """The arguments of one command."""

    words: list[str]
    options: Options


class Commands:
    """What a story can say, by its name; a decorator that names a function's command after it."""

    def __init__(self) -> None:
        self.named: dict[str, Command] = {}

    def __call__(self, function: "Command") -> "Command":
        self.named[function.__name__.removesuffix("_").replace("_", "-")] = function
        return function


class Telling:
    """One Sentinel, its surroundings, and what has been said."""

    def __init__(self) -> None:
        self.world = Surroundings("sentinel-a")
        self.words = Words()
        self.words.sentinels[run_id_of("sentinel-a")] = "sentinel-a"
        self.settings = HEALTHY
        self.disk = DurableState(me=run_id_of("sentinel-a"))
        self.shown: set[str] = set()
        self.said: list[str] = []
        self._asked: dict[tuple[str, str], str] = {}
        self._seen = 0
        self._tokens = 0

    def gather(self) -> None:
        links = self.world.link_names
        for now, effect in self.world.happened[self._seen :]:
            text = self.words.effect(effect, links)
            if isinstance(effect, Ask):
                topic = (links[effect.link], effect.group)
                is_new = self._asked.get(topic) != text
                self._asked[topic] = text
                is_seen = is_new or "asks" in self.shown
            else:
                hidden_as = topic_of(effect)
                is_seen = hidden_as is None or hidden_as in self.shown
            if is_seen:
                self.said.append(f"> {now} {text}")
        self._seen = len(self.world.happened)

    def party(self, name: str) -> Party:
        if name not in self.world.parties:
            raise LookupError(f"nobody is called {name!r}; declare it with instance or sentinel")
        return self.world.parties[name]

    def named(self, names: str) -> list[Party]:
        return [self.party(name) for name in names.split(",") if name]

    def end(self, name: str) -> tuple[Party, Purpose]:
        party, _, channel = name.partition(".")
        return self.party(party), Purpose.CHANNEL if channel else Purpose.COMMANDS

    def token(self) -> Token:
        self._tokens += 1
        return Token(self._tokens)

    def ask_answer(self, down: str, options: Options) -> AskAnswer:
        if down not in {"up", "down"}:
            raise ValueError(f"a Sentinel answers up, down or nothing, not {down!r}")
        leader = options.get("leader")
        run_id: RunId | None = None if leader is None else run_id_of(leader)
        return AskAnswer(down == "down", run_id, Epoch(int(options.get("epoch", "0"))))

    def report(self, before: InstanceReport, options: Options) -> InstanceReport:
        """Change some fields of what an instance says; `none` for "it does not say"."""
        report = before
        for name, value in options.items():
            report = replace(report, **self._field(name, value))  # type: ignore[arg-type] # by name
        return report

    def _field(self, name: str, value: str) -> dict[str, object]:
        number = None if value == "none" else value
        match name:
            case "role":
                return {"role": None if number is None else Role(value)}
            case "engine":
                return {"engine": Engine(value)}
            case "run-id" | "history" | "history-before":
                return {name.replace("-", "_"): "" if number is None else value}
            case "offset" | "link-down-for" | "uptime-s" | "priority" | "keys":
                field = {"link-down-for": "primary_link_down_for"}.get(name, name)
                return {field.replace("-", "_"): None if number is None else int(value)}
            case "replicas":
                named = [] if number is None else self.named(value)
                return {"replicas": tuple(party.address for party in named)}
            case "primary":
                return {"primary": None if number is None else self.party(value).address}
            case "hands-over":
                return {"hands_over": HandOver(value)}
            case "syncing":
                return {"is_syncing": value == "yes"}
            case "link":
                return {"primary_link_up": value == "up"}
            case _:
                raise LookupError(f"INFO has no field {name!r} here")


Command = Callable[[Telling, Line], None]


def address_of(text: str, ip: str = "") -> Address:
    host, _, port = text.rpartition(":")
    return Address(host.strip("[]"), int(port), ip)


def changed(before: GroupSettings, options: Options) -> GroupSettings:
    """Return settings with some options changed, by Sentinel's names without -milliseconds."""
    names = {
        "quorum",
        "down-after",
        "failover-timeout",
        "parallel-syncs",
        "reboot-down-after",
    }
    unknown = options.keys() - names
    if unknown:
        raise LookupError(f"no settings {', '.join(sorted(unknown))}")
    changes = {name.replace("-", "_"): int(value) for name, value in options.items()}
    return replace(before, **changes)  # type: ignore[arg-type] # durations are integers
