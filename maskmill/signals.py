"""Signals that end a command: a sentence, cleaning up, and the exit code that tells which."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

GRACE_SECONDS = 4.0
"""How long cleaning up may take: what is committed stays, whenever the process ends."""

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP
_stopping: "list[signal.Signals]" = []  # the first signal, once there was one


class Stopped(KeyboardInterrupt):
    """Raised in the main thread by the first signal; ``finally`` blocks run as after Ctrl-C.

    Like KeyboardInterrupt it is no Exception: what catches failures lets it pass.
    """

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.number = number


def exit_code_of(stop: KeyboardInterrupt) -> int:
    """128 and the signal's number, as shells have it: 130 Ctrl-C, 143 SIGTERM, 129 SIGHUP."""
    return 128 + (stop.number if isinstance(stop, Stopped) else signal.SIGINT)


def sentence_of(stop: KeyboardInterrupt) -> str:
    """What to tell the user; Ctrl-C was the user's own doing and needs no name."""
    by = (
        f" by {stop.number.name}" if exit_code_of(stop) != 130 and isinstance(stop, Stopped) else ""
    )
    return f"stopped{by}; what is committed stays. The same command continues."


def stop_on_signals() -> None:
    """From here on the first signal raises :class:`Stopped`, and a second one ends at once.

    So does the first after GRACE_SECONDS, whatever still waits. For the commands only, never for
    calls from Python. An ignored signal stays ignored (``nohup``, jobs in the background).
    """
    for number in _ours():
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _stop)


def leave_if_stopped() -> None:
    """End the process here where a signal has ended its command.

    Python's own way out waits for threads that are deep in native code, and nothing cuts it short.
    """
    if not _stopping:
        return
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(128 + _stopping[0])


@contextmanager
def handlers_kept() -> Iterator[None]:
    """A block after which signals are handled as before it, whatever was installed meanwhile.

    ``ray.init`` puts its own handler for SIGTERM into the driver. Outside the main thread, where
    nobody may install one, nothing is done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _ours()}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # not installed from Python
                signal.signal(
                    number, handler
                )  # also where it seems unchanged: C code does not tell


def end_with_parent() -> None:
    """For processes we start: Ctrl-C is the parent's business, and its death is ours too."""
    from multiprocessing import parent_process

    for number in _ours():
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent.join,), daemon=True).start()


def _follow(wait: Callable[[], None]) -> None:
    wait()
    os._exit(1)


def _ours() -> list[signal.Signals]:
    return [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]


def _stop(number: int, _: FrameType | None) -> None:
    if _stopping:
        _end(_stopping[0])
    _stopping.append(signal.Signals(number))
    watch = threading.Timer(GRACE_SECONDS, _end, args=_stopping)
    watch.daemon = True
    watch.start()
    raise Stopped(_stopping[0])


def _end(first: signal.Signals) -> None:
    """The process is over: no cleaning up, no traceback."""
    with suppress(Exception):  # the main thread may hold the stream
        os.write(sys.stderr.fileno(), b"maskmill: stopped at once\n")
    os._exit(128 + first)
