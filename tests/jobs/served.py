"""A model behind a port of this machine, in this process; and a host of files it may ask."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import uvicorn

from maskmill.jobs.serving.application import Limits, Service, application
from maskmill.jobs.serving.inference import Inference
from maskmill.jobs.serving.label_studio import LabelStudioBackend
from maskmill.jobs.serving.task_pictures import TaskPictures
from maskmill.pipeline.prelabel.labeller import Labeller

TOKEN = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class FileHost:
    """Files by path, and what was asked for: (path, Authorization). ``gates`` hold answers back."""

    files: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    url: str = ""


@contextmanager
def file_host(token: str | None = TOKEN) -> Iterator[FileHost]:
    """A server on loopback. A value of ``files`` is bytes, a status, a URL to redirect to, or a
    function that writes the answer; without the token everything is 401."""
    host = FileHost()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            authorization = self.headers.get("Authorization")
            host.asked.append((self.path, authorization))
            found = host.files.get(self.path, 404)
            if token is not None and authorization not in (f"Token {token}", "Bearer an-access"):
                found = 401
            if callable(found):
                found(self)
                return
            self.send_response(
                found if isinstance(found, int) else 302 if isinstance(found, str) else 200
            )
            if isinstance(found, str):
                self.send_header("Location", found)
            body = found if isinstance(found, bytes) else b"not a picture"
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            host.asked.append((self.path, None))
            body = b'{"access": "an-access"}'
            self.send_response(200 if self.path == "/api/token/refresh/" else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Tests say enough."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    host.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield host
    finally:
        host.gate.set()
        server.shutdown()
        server.server_close()


@dataclass
class Served:
    """Where it is, and what it said to whoever runs it."""

    url: str
    version: str
    said: list[str]


@contextmanager
def served(
    labeller: Labeller,
    label_studio: str | None = None,
    *,
    token: Callable[[], str] = lambda: TOKEN,
    max_bytes: int = 4_000_000,
    max_waiting: int = 32,
    seconds: float = 120,
) -> Iterator[Served]:
    """The application of `maskmill serve` on a port of its own."""
    limits = Limits(max_bytes=max_bytes, max_waiting=max_waiting, seconds=seconds)
    pictures = label_studio and TaskPictures(url=label_studio, token=token, max_bytes=max_bytes)
    said: list[str] = []
    inference, version = Inference(labeller), labeller.version()
    backend = LabelStudioBackend(
        inference, pictures or None, version=version, seconds=seconds, say=said.append
    )
    app = application(Service(inference, backend, limits, version), limits, local_only=True)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    config = uvicorn.Config(app, log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield Served(f"http://127.0.0.1:{listener.getsockname()[1]}", version, said)
    finally:
        server.should_exit = True
        thread.join(20)
        inference.close()
        assert not thread.is_alive()
