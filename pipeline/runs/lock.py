"""One run at a time in one output folder.

On a disk the operating system holds the lock and lets go when the process dies, however it dies.
Elsewhere a lease does (see ``lease``), which can be lost: ``check`` says so.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from maskmill.pipeline.runs.holders import refusal, this_process
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.schemas.errors import RunRefused

LEASE_SECONDS = 120.0
"""How long a lease lives that nobody renews; it is renewed four times as often."""


class RunLock(Protocol):
    """What a run holds while it writes."""

    @property
    def note(self) -> str:
        """What the user should hear about this lock; empty where it excludes every other run."""

    def check(self) -> None:
        """Make sure that the folder is still ours; to be asked before and after every commit.

        Raises:
            RunFailed: the lease is lost, or could not be renewed for its whole life.
        """


class FileLock:
    """A lock of the operating system: ours until we die."""

    note = ""

    def check(self) -> None:
        """Always true."""


@contextmanager
def run_lock(layout: RunLayout, *, lease_seconds: float = LEASE_SECONDS) -> Iterator[RunLock]:
    """Hold the run folder.

    Args:
        layout: the run folder.
        lease_seconds: life of a lease on remote storage.

    Raises:
        RunRefused: another run holds it (the message names host and process), or nothing can be
            written there.
    """
    if layout.is_local:
        with _hold_file(layout):
            yield FileLock()
        return
    from maskmill.pipeline.runs.lease import hold_lease  # remote storage only

    with hold_lease(layout, this_process(), lease_seconds) as lease:
        yield lease


@contextmanager
def _hold_file(layout: RunLayout) -> Iterator[None]:
    import fcntl  # not on every platform, and only disks need it

    path = layout.local(layout.lock)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("a+", encoding="utf-8", errors="replace")
    except OSError as error:
        raise RunRefused(
            f"{layout.root}: cannot write there ({error.strerror}: {error.filename}); choose "
            "another output folder"
        ) from error
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            raise refusal(layout.root, stream.read()) from None
        stream.seek(0)
        stream.truncate()
        stream.write(this_process())
        stream.flush()
        yield
