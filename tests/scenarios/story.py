"""Read a story about one Sentinel, let the core live it, and write down what it did.

A story is a text file. A line is one of:

    # prose                                for the reader
    COMMAND WORDS... KEY=VALUE...          a fact or a request, now
    at TIME COMMAND ...                    the same after letting time pass until TIME (ms)
    given FILE                             first live through FILE.given, without telling it
    > TIME EFFECT                          what the core did because of the command above

`retell` drops the `>` lines and puts in those that come true now; a story holds when nothing
changes. Parties go by the names that the story gives them. Routine (pings, INFO, hellos, links,
repeated questions to peers) is left out unless the story says `show TOPIC`. Commands are the
functions of `commands` and `facts`; the attitudes of parties are explained in `surroundings`.
"""

from pathlib import Path

from scenarios import commands, facts
from scenarios.telling import Line, Telling

HERE = Path(__file__).parent
COMMANDS = commands.command.named | facts.command.named


class StoryError(Exception):
    """A line of a story makes no sense; the message says which and why."""


def retell(path: Path) -> str:
    """Return a story with the effects that come true now."""
    story = Telling()
    told: list[str] = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.startswith(">"):
            continue
        told.append(line)
        try:
            told += tell(story, line)
        except (LookupError, ValueError, AssertionError) as error:
            raise StoryError(f"{path.name}:{number}: {line}\n{error!r}") from error
    return "\n".join(told) + "\n"


def tell(story: Telling, line: str) -> list[str]:
    """Carry out one line; return what comes of it."""
    words = line.split()
    if not words or line.startswith("#"):
        return []
    if words[0] == "given":
        for given in (HERE / f"{words[1]}.given").read_text().splitlines():
            tell(story, given)
        return []
    if words[0] == "at":
        story.world.advance(int(words[1]))
        words = words[2:]
    if words:
        name, *rest = words
        if name not in COMMANDS:
            raise LookupError(f"no command {name!r}; there are {', '.join(sorted(COMMANDS))}")
        options = dict(word.split("=", 1) for word in rest if "=" in word)
        COMMANDS[name](story, Line([word for word in rest if "=" not in word], options))
    story.gather()
    said, story.said = story.said, []
    return said
