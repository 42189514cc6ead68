"""A run that hangs says so, and what it hangs on; after long enough it ends, to be gone on with."""

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Final, NoReturn

import click

from maskmill.pipeline.runs.attempts import under_way
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.manifest import manifest_block
from maskmill.schemas.errors import RunFailed
from maskmill.schemas.text import printable

STALL_MINUTES: Final = 60.0
"""After so long without a committed block a run ends, unless told otherwise."""
SAY_MINUTES: Final = 10.0
"""After so long, and again after as long, it says what is under way."""
_SHOWN = 3
_SIGNAL = signal.SIGUSR2  # ours for the length of a run: Ctrl-C may be ignored, and says otherwise


class _Stalled(KeyboardInterrupt):
    """Ends the main thread's waiting as Ctrl-C does, so that all is put away as after that."""


class Watchdog:
    """Hears of every committed block, and barks where none comes.

    A thread of its own looks at the clock: whatever hangs, hangs elsewhere. To end the run it
    sends the main thread a signal; a run that was called from another thread it cannot end.
    """

    def __init__(
        self, layout: RunLayout, blocks: Sequence[int], minutes: float, say_minutes: float
    ) -> None:
        self._layout, self._blocks = layout, blocks
        self._seconds, self._say_seconds = minutes * 60, say_minutes * 60
        self._heard = self._said = time.monotonic()
        self._stopped = threading.Event()
        self.last_words = ""
        self.can_end = minutes > 0 and threading.current_thread() is threading.main_thread()

    def heard(self) -> None:
        """A block is committed."""
        self._heard = self._said = time.monotonic()

    def stop(self) -> None:
        """Nothing more is waited for."""
        self._stopped.set()

    def watch(self) -> None:
        """Until stopped."""
        tick = min(1.0, self._say_seconds / 4, self._seconds / 4 if self._seconds else 1.0)
        while not self._stopped.wait(tick):
            now = time.monotonic()
            if self.can_end and now - self._heard >= self._seconds:
                self.last_words = self.sentence()  # before what is under way is given up
                signal.pthread_kill(threading.main_thread().ident or 0, _SIGNAL)
                return
            if now - self._said >= self._say_seconds:
                self._said = now
                click.echo(f"note: {printable(self.sentence())}", err=True)

    def sentence(self) -> str:
        """How long nothing has come, and what is under way."""
        minutes = (time.monotonic() - self._heard) / 60
        return f"no block has been committed for {minutes:.3g} minutes; {self._under_way()}"

    def _under_way(self) -> str:
        try:
            blocks = under_way(self._layout, self._blocks)
            shown = ", ".join(self._title(block) for block in blocks[:_SHOWN])
        except OSError as error:  # what hangs may be the storage
            return f"what is under way cannot be read: {error}"
        more = f" and {len(blocks) - _SHOWN} more" if len(blocks) > _SHOWN else ""
        return f"under way: {shown}{more}" if blocks else "none is under way"

    def _title(self, block: int) -> str:
        rows = manifest_block(self._layout, block)
        return f"block {block} ({rows[0]['key']} … {rows[-1]['key']})"


@contextmanager
def watchdog(
    layout: RunLayout, blocks: Sequence[int], minutes: float, say_minutes: float = SAY_MINUTES
) -> Iterator[Watchdog]:
    """Watch over the blocks that are to be done; ``minutes`` of 0: never end the run.

    Raises:
        RunFailed: no block came for ``minutes`` minutes.
    """
    dog = Watchdog(layout, blocks, minutes, say_minutes)
    before = signal.signal(_SIGNAL, _stop) if dog.can_end else None
    thread = threading.Thread(target=dog.watch, daemon=True)
    thread.start()
    try:
        yield dog
    except _Stalled:
        raise RunFailed(
            f"{dog.last_words}. The run is given up after --stall-minutes {minutes:g}; what is "
            "committed stays: look at these files, the machine and its storage, then give the "
            "same command again"
        ) from None
    finally:
        dog.stop()
        thread.join()
        if dog.can_end:
            signal.signal(_SIGNAL, before)


def _stop(_: int, __: FrameType | None) -> NoReturn:
    raise _Stalled
