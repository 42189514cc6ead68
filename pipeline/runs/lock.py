"""One run at a time in one output folder.

On a disk the operating system holds the lock and lets go when the process dies, however it dies.
On an object store a lease file is renewed while the run lives; a lease that was not renewed for
``LEASE_SECONDS`` is dead.
"""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from maskmill.pipeline.runs.layout import RunLayout
from maskmill.schemas.errors import RunRefused

LEASE_SECONDS = 120.0
RENEW_SECONDS = 30.0


class RunLock:
    """A held run folder."""

    def check(self) -> None:
        """Stop a run that holds it no longer."""


@contextmanager
def run_lock(layout: RunLayout) -> Iterator[RunLock]:
    """Hold the run folder.

    Raises:
        RunRefused: another run holds it; the message names host and process.
    """
    holder = _hold_file(layout) if layout.is_local else _hold_lease(layout)
    with holder:
        yield RunLock()


@contextmanager
def _hold_file(layout: RunLayout) -> Iterator[None]:
    import fcntl  # not on every platform, and only disks need it

    path = Path(layout.path(layout.lock))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            raise _refusal(layout, stream.read()) from None
        stream.seek(0)
        stream.truncate()
        stream.write(f"{socket.gethostname()}, process {os.getpid()}")
        stream.flush()
        yield


@contextmanager
def _hold_lease(layout: RunLayout) -> Iterator[None]:
    token = uuid.uuid4().hex
    _refuse_live_lease(layout)
    _write_lease(layout, token)
    stop = threading.Event()
    renewal = threading.Thread(target=_renew, args=(layout, token, stop), daemon=True)
    renewal.start()
    try:
        yield
    finally:
        stop.set()
        renewal.join()
        layout.delete(layout.lock)


def _refuse_live_lease(layout: RunLayout) -> None:
    try:
        lease = json.loads(layout.read(layout.lock))
    except (FileNotFoundError, ValueError):
        return
    if time.time() - float(lease.get("renewed", 0)) < LEASE_SECONDS:
        raise _refusal(layout, str(lease.get("holder", "")))


def _write_lease(layout: RunLayout, token: str) -> None:
    holder = f"{socket.gethostname()}, process {os.getpid()}"
    document = {"token": token, "holder": holder, "renewed": time.time()}
    layout.write(layout.lock, json.dumps(document).encode())


def _renew(layout: RunLayout, token: str, stop: threading.Event) -> None:
    while not stop.wait(RENEW_SECONDS):
        _write_lease(layout, token)


def _refusal(layout: RunLayout, holder: str) -> RunRefused:
    return RunRefused(
        f"{layout.root} is in use by another run ({holder or 'unknown holder'}); wait for it to "
        "end, or choose another output folder"
    )
