"""Starting and stopping the server: a socket, its address, said once."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from types import FrameType

import uvicorn

from maskmill.jobs.web.guard import App
from maskmill.schemas.errors import SettingsError

_GRACE_SECONDS = 2


class QuietServer(uvicorn.Server):
    """Ends on the first Ctrl-C or SIGTERM, as a server should, and not as a broken command."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals end the server and nothing else; those of before are back afterwards."""
        before = {
            number: signal.signal(number, self._leave) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _leave(self, number: int, _: FrameType | None) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True


def bound_socket(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 takes a free one.

    Raises:
        SettingsError: the port is taken, or the host is none of this machine.
    """
    try:
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, socket.SOCK_STREAM)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(place)
    except OSError as error:
        raise SettingsError(
            f"cannot serve on {host}:{port}: {error.strerror or error}; choose another --port, 0 "
            "for any free one"
        ) from error
    return found


def names_of(host: str) -> frozenset[str]:
    """Host names under which the server may be asked for."""
    own = {"localhost", host.lower()}
    if host not in ("127.0.0.1", "localhost", "::1"):
        own |= {socket.gethostname().lower(), socket.getfqdn().lower()}
    return frozenset(own)


def serve(app: App, listening: socket.socket, ready: Callable[[], None]) -> None:
    """Answer until a signal comes. ``ready`` is called once the server answers."""
    config = uvicorn.Config(
        app, log_level="error", access_log=False, lifespan="off", server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS, ws="none",
    )  # fmt: skip
    server = QuietServer(config)

    async def run() -> None:
        task = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started and not task.done():
            await asyncio.sleep(0.01)
        if server.started:
            ready()
        await task

    asyncio.run(run())
