"""What native code writes to file descriptor 2, kept off the user's terminal."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


@contextmanager
def native_stderr_in_file() -> Iterator[TextIO]:
    """Keep what Ray's native code writes off the user's terminal.

    Our own messages and Python's tracebacks still go there. The file is kept, and named, when the
    block ends with an error. Gives a stream for what else is not for the user: Ray prints its
    messages about dead workers on stdout, which is for results.
    """
    if not _stderr_is_descriptor_2():  # a test runner, or a notebook
        yield sys.stderr
        return
    sys.stderr.flush()
    terminal = os.dup(2)
    errors = getattr(sys.stderr, "errors", None) or "backslashreplace"
    ours = os.fdopen(os.dup(2), "w", buffering=1, encoding=sys.stderr.encoding, errors=errors)
    with tempfile.NamedTemporaryFile(
        "w", prefix="maskmill-ray-", suffix=".log", delete=False
    ) as log:
        os.dup2(log.fileno(), 2)
    before, sys.stderr = sys.stderr, ours
    try:
        with os.fdopen(os.dup(2), "w", buffering=1, errors="replace") as messages:
            yield messages
        Path(log.name).unlink()
    except Exception:
        ours.write(f"maskmill: what Ray wrote meanwhile is in {log.name}\n")
        raise
    except BaseException:
        Path(log.name).unlink()  # the user stopped it: nothing to look for
        raise
    finally:
        sys.stderr = before
        os.dup2(terminal, 2)
        os.close(terminal)
        ours.close()


def _stderr_is_descriptor_2() -> bool:
    try:
        return sys.stderr.fileno() == 2
    except (AttributeError, OSError, ValueError):
        return False
