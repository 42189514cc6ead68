"""Ray clusters of several nodes on this machine, each node in a network of its own if need be."""

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from benchmarks.processes import descendants, is_alive
from tests.jobs.test_running_cluster import JOINING, RAY, free_port

TOGETHER = {**JOINING, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1"}
HEALTH = {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_initial_delay_ms": "15000",
    "RAY_worker_niceness": "0",
}
"""A silent node is dead after some 15 seconds; by Ray's own settings after about a minute. Workers
are as nice as the test: Ray would have them yield to all else on the machine."""
READY = re.compile("This command will now block|Ray runtime started")


class Network:
    """A bridge of this machine, and namespaces with one cable each to it. Needs root."""

    def __init__(self, number: int) -> None:
        self._bridge, self._subnet = f"mmb{number}", f"10.{200 + number // 250}.{number % 250}"
        self._spaces: list[str] = []
        self.here = f"{self._subnet}.1"
        _ip("link", "add", self._bridge, "type", "bridge")
        _ip("addr", "add", f"{self.here}/24", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")

    def add(self) -> tuple[str, str]:
        """(name, address) of a new namespace."""
        number = len(self._spaces) + 2
        space, address = f"{self._bridge}n{number}", f"{self._subnet}.{number}"
        _ip("netns", "add", space)
        self._spaces.append(space)
        _ip("link", "add", space, "type", "veth", "peer", "name", "eth0", "netns", space)
        _ip("link", "set", space, "master", self._bridge, "up")
        for words in (("addr", "add", f"{address}/24", "dev", "eth0"), ("link", "set", "lo", "up")):
            _ip("-n", space, *words)
        _ip("-n", space, "link", "set", "eth0", "up")
        return space, address

    @staticmethod
    def cut(space: str) -> None:
        """No packet comes or goes any more, and nobody is told."""
        _ip("link", "set", space, "down")

    @staticmethod
    def restore(space: str) -> None:
        _ip("link", "set", space, "up")

    def remove(self) -> None:
        for space in self._spaces:
            _ip("netns", "delete", space)
        _ip("link", "delete", self._bridge)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def network_trouble() -> str | None:
    """Why this machine cannot have networks of its own; None where it can."""
    try:
        trial = Network(os.getpid() % 10_000)
        trial.add()
        trial.remove()
    except FileNotFoundError:
        return "needs the command ip (Debian package iproute2)"
    except subprocess.CalledProcessError as error:
        return f"needs root for network namespaces: {error.stderr.strip()}"
    return None


class Node(subprocess.Popen):
    """One node: ``ray start``, all that it starts, and the network it is in."""

    space: str = ""
    address: str = ""


class Nodes:
    """A head of one core, and worker nodes; all on this machine, and in a network if one is given.

    The head and whoever starts runs are in the machine's own network.
    """

    def __init__(self, session: str, folder: Path, network: Network | None = None) -> None:
        self._here = "127.0.0.1" if network is None else network.here
        self.address = f"{self._here}:{free_port()}"
        self._folder, self._session, self._network = folder, session, network
        self._running: list[Node] = []
        self.head = self.start_head()

    def start_head(self) -> Node:
        """At the address of the cluster; once more where the first is dead."""
        port = self.address.rpartition(":")[2]
        return self._start(
            [], self._here, "--head", f"--port={port}", "--num-cpus=1",
            "--include-dashboard=false", f"--temp-dir={self._session}",
        )  # fmt: skip

    def add(self, *, cpus: int = 2, hidden: Path | None = None, **environment: str) -> Node:
        """A node more; ``hidden`` is a folder that it sees empty."""
        before: list[str] = []
        space, address = "", self._here
        if self._network is not None:
            space, address = self._network.add()
            before = ["ip", "netns", "exec", space]
        if hidden is not None:
            cover = f'mount -t tmpfs none "{hidden}" && exec "$0" "$@"'
            before += ["unshare", "--mount", "sh", "-c", cover]
        words = (f"--address={self.address}", f"--num-cpus={cpus}")
        node = self._start(before, address, *words, **environment)
        node.space, node.address = space, address
        return node

    def _start(self, before: list[str], address: str, *words: str, **more: str) -> Node:
        environment = {**os.environ, **TOGETHER, **HEALTH, "RAY_USAGE_STATS_ENABLED": "0", **more}
        environment.pop("PYTHONPATH", None)
        node = Node(
            [*before, *RAY, "start", "--block", "--object-store-memory=80000000",
             f"--node-ip-address={address}", *words],
            env=environment, cwd=self._folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._running.append(node)
        told: list[str] = []
        assert node.stdout is not None
        for line in node.stdout:
            told.append(line)
            if READY.search(line):
                return node
        raise AssertionError("".join(told))

    @staticmethod
    def kill(node: Node) -> None:
        """SIGKILL to everything of a node, as a machine does that loses its power."""
        below = descendants(node.pid)
        node.kill()
        for pid in below:
            if is_alive(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        node.wait()

    def stop(self) -> None:
        for node in self._running:
            self.kill(node)


@contextlib.contextmanager
def cluster_nodes(session: str, folder: Path, network: Network | None = None) -> Iterator[Nodes]:
    """A cluster for the length of a block."""
    nodes = Nodes(session, folder, network)
    try:
        yield nodes
    finally:
        nodes.stop()
