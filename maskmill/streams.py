"""What we write to: every name can be printed on every terminal, and a closed pipe is no error.

File names may hold what a stream's encoding does not: they are shown with escapes, never refused.
"""

import io
import os
import select
import sys
from contextlib import suppress
from typing import Any

EXIT_BROKEN_PIPE = 141
"""128 and SIGPIPE, what a shell sees of other programs whose reader went away."""


class _AsciiText(io.TextIOWrapper):
    """Text for a stream that takes ASCII only.

    Click writes UTF-8 to such a stream where it can reach the bytes below; here it cannot.
    """

    buffer: Any = None


def escape_output() -> None:
    """Let stdout and stderr write what they cannot encode as ``\\u1234``. For the commands only."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, io.TextIOWrapper):
            continue
        stream.reconfigure(errors="backslashreplace")
        if can_encode("ü", stream.encoding):
            continue
        text = _AsciiText(
            stream.buffer,
            encoding=stream.encoding,
            errors="backslashreplace",
            line_buffering=stream.line_buffering,
        )
        setattr(sys, name, text)


def can_encode(text: str, encoding: str | None) -> bool:
    """Whether a stream of that encoding can show a text as it is."""
    try:
        text.encode(encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def readers_have_gone() -> bool:
    """Whether it was stdout or stderr that broke (``| head``), and not a pipe of our own.

    What is still to be written there is dropped.
    """
    broken = [stream for stream in (sys.stdout, sys.stderr) if _is_broken(stream)]
    for stream in broken:
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return bool(broken)


def _is_broken(stream: Any) -> bool:
    """Asked of the system: a failed write leaves nothing behind that a second one would trip on."""
    try:
        watch = select.poll()
        watch.register(stream.fileno(), select.POLLOUT)
        return any(events & (select.POLLERR | select.POLLHUP) for _, events in watch.poll(0))
    except (OSError, ValueError, AttributeError):  # no file, or a system without poll
        return False
