"""Somebody who sees a Ray cluster die: Ray itself says nothing for up to a minute."""

import socket
import threading
import time
from typing import Any

LOOK_SECONDS = 0.5
MISSED_LOOKS = 6
"""So many looks in a row must find a joined cluster's head silent: a network may hiccup."""


class Watch:
    """A thread that looks after the processes of our own cluster, or the head of a joined one."""

    def __init__(self, *, is_own: bool) -> None:
        self.is_own = is_own
        self.failure: str | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()

    def _look(self) -> None:
        import ray

        node = ray._private.worker._global_node
        missed = 0
        while not self._stop.wait(LOOK_SECONDS):
            dead = _dead_process(node) if self.is_own else _silent_head(node)
            missed = missed + 1 if dead else 0
            if dead and (self.is_own or missed >= MISSED_LOOKS):
                self.failure = (
                    f"{dead} at {time.strftime('%H:%M:%S')}; what is committed stays, and the same "
                    f"command continues. Ray's logs: {_logs(node)}"
                )
                return


def _dead_process(node: Any) -> str | None:
    """A sentence about the first process of our cluster that is no more."""
    for kind, processes in node.all_processes.items():
        for info in processes:
            status = info.process.poll()
            if status is not None and kind in ("raylet", "gcs_server"):
                return f"Ray's {kind} has ended (status {status})"
    return None


def _silent_head(node: Any) -> str | None:
    host, _, port = str(node.gcs_address).rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except OSError as error:
        return f"the head of the Ray cluster at {node.gcs_address} does not answer ({error})"
    return None


def _logs(node: Any) -> str:
    return str(node.get_logs_dir_path())
