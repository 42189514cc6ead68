"""One run at a time in one output folder.

On a disk the operating system holds the lock and lets go when the process dies, however it dies.
Elsewhere a lease does (see ``lease``), which can be lost: ``check`` says so.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Protocol

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
    root, path = layout.local(""), layout.local(layout.lock)
    is_new = not root.exists()
    with _locked(layout, path) as stream:
        stream.seek(0)
        stream.truncate()
        stream.write(this_process())
        stream.flush()
        try:
            yield
        finally:
            if not layout.exists(layout.run_record):  # refused before it began: it leaves nothing
                path.unlink(missing_ok=True)
                with suppress(OSError):  # somebody's pictures may lie there
                    path.parent.rmdir()
                    if is_new:
                        root.rmdir()


@contextmanager
def _locked(layout: RunLayout, path: Path) -> Iterator[IO[str]]:
    """The lock's file, held. Who held it before may have removed it meanwhile: then a new one."""
    import fcntl  # not on every platform, and only disks need it

    while True:
        with _opened(layout, path) as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                stream.seek(0)
                raise refusal(layout.root, stream.read()) from None
            if _is_still_there(path, stream):
                yield stream
                return


def _is_still_there(path: Path, stream: IO[str]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(stream.fileno()))
    except FileNotFoundError:
        return False


def _opened(layout: RunLayout, path: Path) -> IO[str]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a+", encoding="utf-8", errors="replace")
    except OSError as error:
        raise RunRefused(
            f"{layout.root}: cannot write there ({error.strerror}: {error.filename}); choose "
            "another output folder"
        ) from error
