"""What a story can say of single facts: one that comes by hand, comes late, or does not come."""

from everfly.core import inputs
from everfly.core.effects import Purpose
from everfly.core.model import Epoch, GroupName, Hello, InstanceReport, Role
from scenarios.surroundings import reply_of, run_id_of
from scenarios.telling import Commands, Line, Telling, address_of

command = Commands()


@command
def connected(story: Telling, line: Line) -> None:
    story.world.connect(story.world.wire(*story.end(line.words[0])))
    story.world.settle()


@command
def lost(story: Telling, line: Line) -> None:
    story.world.lose(story.world.wire(*story.end(line.words[0])), " ".join(line.words[1:]))
    story.world.settle()


@command
def pong(story: Telling, line: Line) -> None:
    wire = story.world.wire(*story.end(line.words[0]))
    story.world.answer_by_hand(wire, inputs.Ponged(wire.id, " ".join(line.words[1:])))


@command
def info(story: Telling, line: Line) -> None:
    party, purpose = story.end(line.words[0])
    party.report = story.report(party.report, line.options)
    wire = story.world.wire(party, purpose)
    story.world.answer_by_hand(wire, inputs.InfoReceived(wire.id, party.report))


@command
def paused(story: Telling, line: Line) -> None:
    """Let a pause of writes be answered now: paused WHO [ERROR]."""
    wire = story.world.wire(story.party(line.words[0]))
    error = " ".join(line.words[1:]) or None
    story.world.answer_by_hand(wire, inputs.PauseAnswered(wire.id, is_paused=True, error=error))


@command
def takes_over(story: Telling, line: Line) -> None:
    """Let a take-over be answered now: takes-over WHO [ERROR]."""
    wire = story.world.wire(story.party(line.words[0]))
    error = " ".join(line.words[1:]) or None
    story.world.answer_by_hand(wire, inputs.TakeOverAnswered(wire.id, error))


@command
def refused(story: Telling, line: Line) -> None:
    link = story.world.wire(*story.end(line.words[0])).id
    story.world.give(inputs.CommandRefused(link, " ".join(line.words[1:])))


@command
def reply(story: Telling, line: Line) -> None:
    """Let a Sentinel answer once: reply WHO GROUP up|down [leader=WHO epoch=N] [about=PRIMARY]."""
    wire = story.world.wire(story.party(line.words[0]))
    answer = story.ask_answer(line.words[2], line.options)
    about = story.party(line.options["about"]).address if "about" in line.options else None
    reply = reply_of(wire, GroupName(line.words[1]), answer, about)
    story.world.answer_by_hand(wire, reply)


@command
def late(story: Telling, line: Line) -> None:
    """Let a fact of the last link to a party that is no more come late: late WHO WHAT."""
    party = story.party(line.words[0])
    link = story.world.gone[party.name]
    late: dict[str, inputs.Input] = {
        "connected": inputs.Connected(link, "10.0.0.11"),
        "lost": inputs.LinkLost(link, "late"),
        "pong": inputs.Ponged(link, "PONG"),
        "info": inputs.InfoReceived(link, InstanceReport(role=Role.PRIMARY, run_id="late")),
        "heard": inputs.ChannelHeard(link),
        "hello": inputs.HelloHeard(
            link,
            Hello(
                address_of("10.9.9.9:26379"),
                run_id_of("stranger"),
                Epoch(99),
                GroupName("cache"),
                party.address,
                Epoch(99),
            ),
        ),
    }
    story.world.give(late[line.words[1]])


@command
def hello(story: Telling, line: Line) -> None:
    """Let a Sentinel say hello: hello WHO GROUP PRIMARY [epoch=N] [config-epoch=N]
    [via=INSTANCE] [from=ADDRESS]; directly when not `via` an instance's channel."""
    who = line.words[0]
    link = None
    if "via" in line.options:
        link = story.world.wire(story.party(line.options["via"]), Purpose.CHANNEL).id
    if "from" in line.options:
        sender = address_of(line.options["from"])
    else:
        sender = story.party(who).address
    hello = Hello(
        sender,
        run_id_of(who),
        Epoch(int(line.options.get("epoch", "0"))),
        GroupName(line.words[1]),
        story.party(line.words[2]).address,
        Epoch(int(line.options.get("config-epoch", "0"))),
    )
    story.world.give(inputs.HelloHeard(link, hello))


@command
def vote_request(story: Telling, line: Line) -> None:
    """Let a Sentinel ask us: vote-request PRIMARY epoch=N [candidate=WHO]."""
    candidate = line.options.get("candidate")
    story.world.give(
        inputs.VoteRequested(
            story.token(),
            story.party(line.words[0]).address,
            Epoch(int(line.options["epoch"])),
            None if candidate is None else run_id_of(candidate),
        )
    )


@command
def timer(story: Telling, line: Line) -> None:
    story.world.give(inputs.TimerExpired())


@command
def asleep_until(story: Telling, line: Line) -> None:
    """Let time pass while the process stands still."""
    story.world.sleep(int(line.words[0]))
