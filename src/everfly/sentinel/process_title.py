"""Turn what a process is into the line that `ps` shows for it.

Rules: the words of the template are those of Redis; the title takes the place of the arguments in
the process's own memory, so it is cut to their length; when anything about that memory is not as
expected it is left alone. Passwords that were given as arguments are gone from it afterwards.
Source: `redisSetProcTitle`, `expandProcTitleTemplate`, redis/src/server.c (7.0.15);
`proc_pid_stat(5)` for the fields.
"""

import re
from pathlib import Path
from typing import Final

from everfly.errors import SettingsError
from everfly.wire.sentinel_conf import SentinelConf

TEMPLATE_DEFAULT: Final = "{title} {listen-addr} {server-mode}"
PROGRAM: Final = "everfly-sentinel"

_ARG_START: Final = 45
"""Of the fields behind the name of the program, which may hold spaces: number 48 of all."""
_PLACE: Final = re.compile(r"\{([^{}]*)\}")
_WORDS: Final = ("title", "listen-addr", "server-mode", "port", "tls-port", "unixsocket",
                 "config-file")  # fmt: skip


def title_of(conf: SentinelConf, config_file: str) -> str:
    """Return the title that `proc-title-template` makes.

    Raises SettingsError for a place in it that nothing belongs to.
    """
    bind = conf.bind[0].lstrip("-") if conf.bind else "*"
    values = {
        "title": PROGRAM,
        "listen-addr": f"{bind}:{conf.port or conf.tls_port}"
        if conf.port or conf.tls_port
        else conf.text("unixsocket"),
        "server-mode": "[sentinel]",
        "port": str(conf.port),
        "tls-port": str(conf.tls_port),
        "unixsocket": conf.text("unixsocket"),
        "config-file": config_file,
    }

    def value(found: re.Match[str]) -> str:
        return values[found[1]]

    template = conf.text("proc-title-template", TEMPLATE_DEFAULT)
    unknown = [word for word in _PLACE.findall(template) if word not in values]
    if unknown:
        raise SettingsError(
            f"proc-title-template format is invalid or contains unknown variables: {unknown[0]!r}; "
            f"known are {', '.join(_WORDS)}"
        )
    return _PLACE.sub(value, template).rstrip()


def show_title(title: str) -> bool:
    """Show a title in place of the arguments; return whether that could be done."""
    # Not at the top: it takes milliseconds, which a start that is refused need not pay.
    import ctypes  # noqa: PLC0415

    try:
        arguments = Path("/proc/self/cmdline").read_bytes()
        fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
        start, end = (int(word) for word in fields[_ARG_START : _ARG_START + 2])
    except (OSError, ValueError):
        return False
    size = end - start
    # The kernel says 0 where it hides addresses; elsewhere the memory must be what it shows.
    if start <= 0 or size != len(arguments) or ctypes.string_at(start, size) != arguments:
        return False
    ctypes.memmove(start, title.encode(errors="replace")[: size - 1].ljust(size, b"\0"), size)
    return True
