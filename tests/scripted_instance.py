"""An instance that says what a test wants it to say, for what no engine does on demand."""

import socket
import threading
from collections.abc import Callable
from typing import Final, Self

import hiredis

HOST: Final = "127.0.0.1"
READ_BYTES: Final = 65_536

Words = list[bytes]
Script = Callable[[Words], bytes | None]
"""Gets each command, returns what to send; None closes the connection."""


class ScriptedInstance:
    """Listens on a free port while the block lasts and answers every connection by one script."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.commands: list[Words] = []
        """All that came, over all connections, in the order in which they came."""
        self.connections = 0
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        # A thread in accept() does not notice a close, but does notice a shutdown.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self._open:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it is closed already
        for thread in self._threads:
            thread.join()

    def heard(self, *names: bytes) -> list[Words]:
        """Return the commands of these names."""
        return [words for words in self.commands if words[0].upper() in names]

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        reader = hiredis.Reader()
        with connection:
            while True:
                try:
                    data = connection.recv(READ_BYTES)
                except OSError:
                    return
                if not data:
                    return
                reader.feed(data)
                if not self._answer(connection, reader):
                    return

    def _answer(self, connection: socket.socket, reader: hiredis.Reader) -> bool:
        while (words := reader.gets()) is not False:
            assert isinstance(words, list)
            self.commands.append(words)
            answer = self.script(words)
            if answer is None:
                return False
            try:
                connection.sendall(answer)
            except OSError:
                return False
        return True
