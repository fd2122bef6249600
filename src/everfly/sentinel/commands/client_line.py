"""Describe a client in one line, as CLIENT LIST and ACL LOG show it; what does not exist here is 0.

Source: `catClientInfoString`, redis/src/networking.c (7.0.15; 7.4.1 for
the fields of later ones); the same of valkey (8.1.8).
"""

from everfly.runtime.client_connection import ClientConnection
from everfly.sentinel.commands.desk import Desk
from everfly.wire.resp import to_bytes


def client_line(desk: Desk, client: ClientConnection, now: float) -> bytes:
    """Return the line, without its end; `now` is the event loop's clock, in seconds."""
    output = client.held_output
    redirect = client.tracking.redirect if client.tracking.is_on else -1
    is_recent = desk.settings.compat.is_recent
    is_valkey = desk.settings.compat.is_valkey
    library = desk.libraries.get(client.id, {})
    head = f"id={client.id} addr={client.addr} laddr={client.laddr} fd={client.fd} name="
    tail = (
        f" age={int(now - client.opened_at)} idle={int(now - client.active_at)}"
        f" flags={_flags(desk, client)}{' capa=' if is_valkey else ''} db=0"
        f" sub={len(client.channels)}"
        f" psub={len(client.patterns)} ssub=0 multi=-1{' watch=0' if is_recent else ''}"
        f" qbuf={client.held_input} qbuf-free=0"
        f" argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl={output} oll=0 omem={output}"
        f" tot-mem={client.held_input + output} events=r"
        f" cmd={client.command_name or 'NULL'} user={client.user} redir={redirect}"
        f" resp={client.protocol}"
    )
    if is_recent:
        tail += f" lib-name={library.get('lib-name', '')} lib-ver={library.get('lib-ver', '')}"
    if is_valkey:
        tail += (
            f" tot-net-in={client.input_bytes} tot-net-out={client.output_bytes}"
            f" tot-cmds={client.commands}"
        )
    return to_bytes(head) + client.name + to_bytes(tail)


def _flags(desk: Desk, client: ClientConnection) -> str:
    tracking = client.tracking
    is_redirect_broken = bool(tracking.redirect) and tracking.redirect not in desk.listener.clients
    facts = {
        "P": client.kind == "pubsub",
        "t": tracking.is_on,
        "R": tracking.is_on and is_redirect_broken,
        "B": tracking.is_broadcast,
        "c": client.is_closing,
        "U": client.is_unix_socket,
        "e": client.is_eviction_free,
    }
    return "".join(letter for letter, holds in facts.items() if holds) or "N"
