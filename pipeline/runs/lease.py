"""A lease: the lock of a run folder where no operating system holds locks.

A small document at ``work/lock`` says who holds the folder. On S3 it is created only where nothing
is, and renewed or taken over only from the very version that was read, so that of any number of
runs one succeeds. A lease that was not renewed for its whole life is dead; its age is told by the
store's own clock. The holder counts too: it stops in time when it cannot renew.

On stores without conditional writes a run looks, writes, waits, and looks whether it was
overwritten: that makes two holders unlikely, not impossible, and ``note`` says so.
"""

import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from maskmill.pipeline.runs.holders import refusal
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.lease_stores import (
    RENEWALS,
    ConditionalStore,
    LeaseStore,
    PlainStore,
)
from maskmill.pipeline.storage.filesystems import bucket_place
from maskmill.pipeline.storage.object_client import Changed, ConditionsUnsupported
from maskmill.schemas.errors import RunFailed, RunRefused

_ATTEMPTS: Final = 5  # the lease may be released, or taken, while we look at it


class Lease:
    """The lease of this run. Renewed by a thread of its own; safe to ask from any thread."""

    def __init__(
        self, root: str, holder: str, seconds: float, token: str, store: LeaseStore
    ) -> None:
        self._root, self._holder, self._seconds = root, holder, seconds
        self._token, self._store = token, store
        self._serial = 0
        self._tag: str | None = None
        self._renewed = 0.0  # when the last renewal began, by _clock
        self._lost: RunFailed | None = None
        self._mutex = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    @property
    def note(self) -> str:
        """What the store cannot promise; empty on S3."""
        return self._store.note

    def check(self) -> None:
        """Make sure that the folder is still ours.

        Raises:
            RunFailed: the lease is lost, or could not be renewed for its whole life.
        """
        if self._lost is None and self._life() <= 0:
            self._renew_late()
        if self._lost is not None:
            raise self._lost

    def acquire(self) -> None:
        """Take the lease where nobody holds it, or its holder is dead.

        Raises:
            RunRefused: somebody holds it.
            ConditionsUnsupported: the store does not take conditional writes.
        """
        for _ in range(_ATTEMPTS):
            started = _clock()
            try:
                self._tag = self._take(self._document())
            except (FileExistsError, Changed):
                continue  # it came, went or changed while we looked
            self._renewed = started
            self._thread.start()
            return
        raise refusal(self._root, "several runs that begin")

    def _take(self, data: bytes) -> str | None:
        found = self._store.read()
        if found is None:
            return self._store.create(data)
        lease = found.document
        if lease.get("token") != self._token:  # else sent over a broken connection, and arrived
            life = lease.get("seconds")
            life = life if isinstance(life, int | float) else self._seconds
            remaining = life - self._store.age(found)
            if remaining > 0:
                raise refusal(self._root, str(lease.get("holder", "")), remaining)
        return self._store.replace(data, found.tag)

    def release(self) -> None:
        """Let go, if it is still ours; what cannot be removed dies by itself."""
        self._stop.set()
        self._thread.join()
        with suppress(OSError):
            found = self._store.read() if self._lost is None and self._life() > 0 else None
            # nobody takes over a living lease: what is ours now is ours when it is deleted
            if found is not None and found.document.get("token") == self._token:
                self._store.delete()

    def _keep(self) -> None:
        usual = pause = self._seconds / RENEWALS
        while not self._stop.wait(pause) and self._lost is None:
            try:
                self._renew()
                pause = usual
            except OSError:
                pause = usual / 8  # ``check`` tells when it is too late

    def _renew(self) -> None:
        with self._mutex:
            started = _clock()
            try:
                self._tag = self._store.replace(self._document(), self._tag)
            except Changed:
                found = self._store.read()
                if found is None or found.document.get("token") != self._token:
                    self._lost = self._loss(found.document.get("holder") if found else None)
                    return
                self._tag = found.tag  # sent twice over a broken connection; the first arrived
            self._renewed = started

    def _renew_late(self) -> None:
        """As long as nobody took the lease it is ours again."""
        try:
            self._renew()
        except OSError as error:
            raise RunFailed(
                f"{self._root}: the lease of this run could not be renewed for "
                f"{_clock() - self._renewed:.0f} s ({error.strerror or error}); stopped, since "
                "another run may begin now. What is committed stays: run the same command again"
            ) from error

    def _loss(self, holder: object) -> RunFailed:
        now = f"is held by another run ({holder}) now" if holder else "was removed"
        return RunFailed(
            f"{self._root}: the lease of this run {now}; stopped, so that two runs do not write "
            "to one folder. What is committed stays: run the same command again when the other "
            "has ended"
        )

    def _life(self) -> float:
        """Seconds in which nobody else can take over, less a margin for what is under way."""
        return self._renewed + self._seconds * 7 / 8 - _clock()

    def _document(self) -> bytes:
        self._serial += 1  # no two versions are alike, and so neither are their tags
        document = {
            "token": self._token,
            "serial": self._serial,
            "holder": self._holder,
            "renewed": time.time(),
            "seconds": self._seconds,
        }
        return json.dumps(document).encode()


@contextmanager
def hold_lease(layout: RunLayout, holder: str, seconds: float) -> Iterator[Lease]:
    """Hold a remote run folder for the length of a block.

    Raises:
        RunRefused: another run holds it, or nothing can be written there.
    """
    try:
        lease = _acquire(layout, holder, seconds)
    except OSError as error:
        raise RunRefused(
            f"{layout.root}: cannot write there ({error.strerror or error}); check the place and "
            "the credentials"
        ) from error
    try:
        yield lease
    finally:
        lease.release()


def _acquire(layout: RunLayout, holder: str, seconds: float) -> Lease:
    token = uuid.uuid4().hex
    place = bucket_place(layout.filesystem, layout.path(layout.lock))
    if place is not None:
        lease = Lease(layout.root, holder, seconds, token, ConditionalStore(*place, seconds))
        with suppress(ConditionsUnsupported):
            lease.acquire()
            return lease
    lease = Lease(layout.root, holder, seconds, token, PlainStore(layout))
    lease.acquire()
    return lease


def _clock() -> float:
    """Seconds that go on while the machine sleeps, where the system has such a clock."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)
