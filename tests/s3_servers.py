"""An S3 server on loopback, and a proxy before it that counts requests and makes trouble."""

import http.client
import logging
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from urllib.parse import unquote
from urllib.request import Request, urlopen

SLOW_DOWN = (
    b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def s3_server(*buckets: str) -> Iterator[str]:
    """``127.0.0.1:port`` of a fresh server that takes any credentials, with empty buckets."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    address = f"127.0.0.1:{free_port()}"
    server = ThreadedMotoServer("127.0.0.1", int(address.partition(":")[2]), verbose=False)
    server.start()
    try:
        request(address, "POST", "/moto-api/reset")
        for bucket in buckets:
            request(address, "PUT", f"/{bucket}")
        yield address
    finally:
        server.stop()


def request(address: str, method: str, path: str, data: bytes = b"", **headers: str) -> bytes:
    """One plain request, unsigned."""
    named = {"Content-Type": "application/octet-stream"}  # else moto parses it as a form
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    with urlopen(
        Request(f"http://{address}{path}", data=data, headers=named, method=method), timeout=30
    ) as answer:
        return answer.read()


@dataclass
class Faults:
    """What the proxy does to requests, in this order.

    ``only`` names the methods it does it to. ``targets``: parts of paths; a number is then one for
    each of them, and other paths are left alone.
    """

    denials: int = 0  # this many requests are told that access is denied
    busy: int = 0  # this many are told to slow down
    resets: int = 0  # this many connections are cut before the request is passed on
    lost_answers: int = 0  # this many requests are done, and their answers lost
    stalls: int = 0  # this many answers come ``stall_seconds`` late
    stall_seconds: float = 0.0
    late_bodies: int = 0  # this many answers stall for as long behind their head
    torn: int = 0  # this many answers end in the middle of their body
    slow_down: float = 0.0  # share of requests that are told to slow down
    refusals: int = 0  # this many requests are answered with ``refusal`` and not passed on
    refusal: tuple[int, bytes] = (502, b"<html>Bad Gateway</html>")
    down: bool = False  # every connection is cut
    ignores_conditions: bool = False
    only: tuple[str, ...] = ("GET", "PUT", "HEAD", "POST", "DELETE")
    targets: tuple[str, ...] = ()
    spared: int = 0  # this many requests of those come through before the faults begin
    dealt: Counter[tuple[str, str]] = field(default_factory=Counter)
    dice: Random = field(default_factory=lambda: Random(7))


class FaultProxy(ThreadingHTTPServer):
    """Passes requests on to a server, after its ``faults``; counts those that came, by method."""

    daemon_threads = True

    def __init__(self, upstream: str, key: str | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = upstream
        self.key = key  # the only access key that is let through
        self.address = f"127.0.0.1:{self.server_address[1]}"
        self.faults = Faults()
        self.counts: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.stopping = threading.Event()
        self._mutex = threading.Lock()

    def take(self, name: str, method: str, path: str) -> bool:
        """True while the faults of that name last."""
        with self._mutex:
            faults, most = self.faults, getattr(self.faults, name)
            if method not in faults.only or most <= 0:
                return False
            if not faults.targets:
                setattr(faults, name, most - 1)
                return True
            target = next((one for one in faults.targets if one in unquote(path)), None)
            if target is None or faults.dealt[name, target] >= most:
                return False
            faults.dealt[name, target] += 1
            return True

    def spares(self, method: str, path: str) -> bool:
        """True for the requests that come before the faults begin."""
        with self._mutex:
            faults, named = self.faults, unquote(path)
            hit = not faults.targets or any(one in named for one in faults.targets)
            if not (hit and method in faults.only and faults.spared > 0):
                return False
            faults.spared -= 1
            return True

    def draws_slow_down(self, method: str) -> bool:
        with self._mutex:
            faults = self.faults
            return method in faults.only and faults.dice.random() < faults.slow_down

    def count(self, counter: Counter[str], name: str) -> None:
        with self._mutex:
            counter[name] += 1

    def handle_error(self, request, client_address) -> None:
        """Connections that we cut ourselves are no news."""


@contextmanager
def fault_proxy(upstream: str, key: str | None = None) -> Iterator[FaultProxy]:
    proxy = FaultProxy(upstream, key)
    thread = threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.stopping.set()
        proxy.shutdown()
        proxy.server_close()
        thread.join(10)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultProxy

    def log_message(self, *_args) -> None:
        pass

    def _serve(self) -> None:
        proxy, method = self.server, self.command
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        proxy.count(proxy.counts, method)
        if proxy.spares(method, self.path):
            return self._answer(*self._pass_on(body))
        if proxy.faults.down or self._takes("resets"):
            return self._cut()
        if self._takes("denials"):
            return self._answer(403, [], b"<Error><Code>AccessDenied</Code></Error>")
        if proxy.key is not None and f"Credential={proxy.key}/" not in str(
            self.headers.get("Authorization")
        ):
            proxy.count(proxy.refused, method)
            return self._answer(403, [], b"<Error><Code>AccessDenied</Code></Error>")
        if self._takes("busy") or proxy.draws_slow_down(method):
            proxy.count(proxy.refused, method)
            return self._answer(503, [], SLOW_DOWN)
        if self._takes("refusals"):
            proxy.count(proxy.refused, method)
            return self._answer(proxy.faults.refusal[0], [], proxy.faults.refusal[1])
        if self._takes("stalls"):
            proxy.stopping.wait(proxy.faults.stall_seconds)
        status, headers, answer = self._pass_on(body)
        if self._takes("lost_answers"):
            return self._cut()
        if answer and self._takes("torn"):
            self._answer(status, headers, answer, sent=len(answer) // 2)
            return self._cut()
        return self._answer(status, headers, answer)

    def _takes(self, name: str) -> bool:
        return self.server.take(name, self.command, self.path)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = do_PATCH = _serve

    def _pass_on(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        headers = dict(self.headers.items())
        if self.server.faults.ignores_conditions:
            headers = {k: v for k, v in headers.items() if k.lower()[:3] != "if-"}
        upstream = http.client.HTTPConnection(self.server.upstream, timeout=60)
        try:
            upstream.request(self.command, self.path, body=body, headers=headers)
            answer = upstream.getresponse()
            data = answer.read()
            drop = ("transfer-encoding", "connection", "date", "server")
            kept = [(k, v) for k, v in answer.getheaders() if k.lower() not in drop]
            return answer.status, kept, data
        finally:
            upstream.close()

    def _answer(
        self, status: int, headers: list[tuple[str, str]], data: bytes, sent: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in headers:
            if name.lower() != "content-length" or self.command == "HEAD":
                self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if data and self._takes("late_bodies"):
            self.wfile.flush()
            self.server.stopping.wait(self.server.faults.stall_seconds)
        if self.command != "HEAD":
            self.wfile.write(data[:sent])

    def _cut(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True
