"""What a story can say: who there is, how parties behave, requests, and what to look at."""

from dataclasses import replace

from everfly.core import inputs
from everfly.core.effects import PauseWrites, SendInfo, TakeOver
from everfly.core.model import Epoch, GroupName
from everfly.core.snapshot import GroupState
from scenarios.surroundings import Attitude, run_id_of
from scenarios.telling import Commands, Line, Telling, address_of, changed
from scenarios.words import TOPICS

command = Commands()


def topics(words: list[str]) -> list[str]:
    for topic in words:
        if topic not in TOPICS:
            raise ValueError(f"no topic {topic!r}; there are {', '.join(TOPICS)}")
    return words


def become(story: Telling, names: list[str], attitude: Attitude) -> None:
    for name in names:
        story.world.become(story.party(name), attitude)


# Who there is.


@command
def show(story: Telling, line: Line) -> None:
    story.shown.update(topics(line.words))


@command
def hide(story: Telling, line: Line) -> None:
    story.shown.difference_update(topics(line.words))


@command
def instance(story: Telling, line: Line) -> None:
    name, where = line.words
    address = address_of(where, line.options.get("ip", ""))
    story.world.add(name, address)
    story.words.places[address] = name


@command
def sentinel(story: Telling, line: Line) -> None:
    name, where = line.words
    story.world.add(name, address_of(where))
    story.words.sentinels[run_id_of(name)] = name


@command
def policy(story: Telling, line: Line) -> None:
    for name, value in line.options.items():
        field = name.replace("-", "_")
        if not hasattr(story.world.policy, field):
            raise LookupError(f"no policy {name!r}")
        setattr(story.world.policy, field, value == "yes" if value in {"yes", "no"} else int(value))


@command
def dice(story: Telling, line: Line) -> None:
    story.world.dice.falls_at = int(line.words[0])


@command
def settings(story: Telling, line: Line) -> None:
    """Set what groups declared below have unless they say otherwise."""
    story.settings = changed(story.settings, line.options)


@command
def epoch(story: Telling, line: Line) -> None:
    story.disk = replace(story.disk, current_epoch=Epoch(int(line.words[0])))


@command
def names_shown(story: Telling, line: Line) -> None:
    story.disk = replace(story.disk, shows_hostnames=True)


@command
def group(story: Telling, line: Line) -> None:
    """Put a group on the disk, before `start`."""
    own = dict(line.options)
    config_epoch = Epoch(int(own.pop("config-epoch", "0")))
    leader_epoch = Epoch(int(own.pop("leader-epoch", "0")))
    replicas = story.named(own.pop("replicas", ""))
    sentinels = story.named(own.pop("sentinels", ""))
    state = GroupState(
        GroupName(line.words[0]),
        story.party(line.words[1]).address,
        changed(story.settings, own),
        config_epoch,
        leader_epoch,
        tuple(party.address for party in replicas),
        tuple((party.address, party.run_id) for party in sentinels),
    )
    story.disk = replace(story.disk, groups=(*story.disk.groups, state))


@command
def start(story: Telling, line: Line) -> None:
    story.world.start(story.disk)


@command
def restart(story: Telling, line: Line) -> None:
    """End the process and start it again from its durable state."""
    story.world.start(story.world.machine.durable_state())


# How parties behave.


@command
def well(story: Telling, line: Line) -> None:
    become(story, line.words, Attitude.WELL)


@command
def silent(story: Telling, line: Line) -> None:
    become(story, line.words, Attitude.SILENT)


@command
def dead(story: Telling, line: Line) -> None:
    become(story, line.words, Attitude.DEAD)


@command
def absent(story: Telling, line: Line) -> None:
    become(story, line.words, Attitude.ABSENT)


@command
def says(story: Telling, line: Line) -> None:
    """Change what an instance says in INFO from now on."""
    party = story.party(line.words[0])
    party.report = story.report(party.report, line.options)


@command
def resolves(story: Telling, line: Line) -> None:
    """Let a name lead to an IP from now on, as a link that is opened finds: resolves HOST IP."""
    host, ip = line.words
    for name, party in story.world.parties.items():
        if party.address.host == host:
            party.address = replace(party.address, ip=ip)
            story.words.places[party.address] = name
    story.world.give(inputs.HostResolved(host, ip))


@command
def refuses_info(story: Telling, line: Line) -> None:
    """Let an instance refuse INFO from now on, or no more: refuses-info WHO [WHY]."""
    story.party(line.words[0]).info_error = " ".join(line.words[1:])


@command
def withholds(story: Telling, line: Line) -> None:
    """Leave one kind of command open, and answer all else: withholds WHO info|pause|take-over;
    or none any more: withholds WHO nothing.
    """
    kinds = {"info": SendInfo, "pause": PauseWrites, "take-over": TakeOver, "nothing": None}
    story.party(line.words[0]).withholds = kinds[line.words[1]]


@command
def pongs(story: Telling, line: Line) -> None:
    story.party(line.words[0]).pong = " ".join(line.words[1:])


@command
def disobeys(story: Telling, line: Line) -> None:
    story.party(line.words[0]).order_error = " ".join(line.words[1:])


@command
def hands_over_not(story: Telling, line: Line) -> None:
    """Let an instance refuse to pause its writes, or to take over: hands-over-not WHO WHY."""
    story.party(line.words[0]).hand_over_error = " ".join(line.words[1:])


@command
def answers(story: Telling, line: Line) -> None:
    """Say what a Sentinel answers to our questions from now on, and to those left open."""
    party = story.party(line.words[0])
    party.answer = (
        None if line.words[1] == "nothing" else story.ask_answer(line.words[1], line.options)
    )
    story.world.become(party, party.attitude)


# Requests.


@command
def monitor(story: Telling, line: Line) -> None:
    primary = story.party(line.words[1]).address
    settings = changed(story.settings, line.options)
    story.world.give(
        inputs.MonitorRequested(story.token(), GroupName(line.words[0]), primary, settings)
    )


@command
def remove(story: Telling, line: Line) -> None:
    story.world.give(inputs.RemoveRequested(story.token(), GroupName(line.words[0])))


@command
def reset(story: Telling, line: Line) -> None:
    story.world.give(inputs.ResetRequested(story.token(), tuple(map(GroupName, line.words))))


@command
def failover(story: Telling, line: Line) -> None:
    story.world.give(inputs.FailoverRequested(story.token(), GroupName(line.words[0])))


@command
def switchover(story: Telling, line: Line) -> None:
    """SENTINEL SWITCHOVER: switchover GROUP [to=HOST:PORT]."""
    to = address_of(line.options["to"]) if "to" in line.options else None
    story.world.give(
        inputs.FailoverRequested(story.token(), GroupName(line.words[0]), is_switchover=True, to=to)
    )


@command
def set_(story: Telling, line: Line) -> None:
    """SENTINEL SET: set GROUP [OPTION=VALUE ...] [secret=OPTION], the last as credentials."""
    name = GroupName(line.words[0])
    view = story.world.machine.group_view(story.world.now, name)
    given = dict(line.options)
    secret = given.pop("secret", None)
    settings = changed(view.settings if view else story.settings, given)
    changes = list(given.items())
    if secret is not None:
        changes.append((secret, "******"))
    story.world.give(
        inputs.SettingsChanged(
            story.token(), name, settings, tuple(changes), drops_links=secret is not None
        )
    )


@command
def announce(story: Telling, line: Line) -> None:
    story.world.give(
        inputs.AnnouncementChanged(
            story.token(),
            announce_host=line.options.get("host", ""),
            announce_port=int(line.options.get("port", "0")),
            shows_hostnames=line.options.get("names") == "yes",
            drops_peer_links=line.options.get("credentials") == "new",
        )
    )


@command
def debug(story: Telling, line: Line) -> None:
    changes = tuple((name.replace("-", "_"), int(value)) for name, value in line.options.items())
    story.world.give(inputs.PolicyChanged(story.token(), changes))


@command
def simulate_failure(story: Telling, line: Line) -> None:
    story.world.give(
        inputs.FailureSimulationRequested(
            story.token(),
            "crash-after-election" in line.words,
            "crash-after-promotion" in line.words,
        )
    )


@command
def flush(story: Telling, line: Line) -> None:
    story.world.give(inputs.FlushRequested(story.token()))


# Looking.


@command
def look(story: Telling, line: Line) -> None:
    """Look at a group, or at `disk`, `tilt`, `groups`."""
    machine, now = story.world.machine, story.world.now
    match line.words[0]:
        case "disk":
            lines = story.words.durable(machine.durable_state())
        case "tilt":
            lines = [f"tilt for {machine.tilt_for(now)}"]
        case "groups":
            places = [
                f"{name} at {story.words.place(address)}"
                for name in machine.group_names()
                if (address := machine.current_address(name)) is not None
            ]
            lines = [", ".join(places) or "no groups"]
        case name:
            view = machine.group_view(now, GroupName(name))
            lines = ["no such group"] if view is None else story.words.group(view)
    story.gather()
    story.said += [f"> {now} {story.words.plain(line)}" for line in lines]
