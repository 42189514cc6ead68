"""A child process that does blocks which have ended a process before, and its parent's side.

The child can die of what it does; the parent sees it and starts another, which finds in the notes
of pipeline/runs/attempts.py what killed the one before it.
"""

import ctypes
import os
import pickle
import signal
import struct
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, BinaryIO

import pyarrow as pa

from maskmill.jobs.engines.stage_process import ended_without_device
from maskmill.pipeline.runs.attempts import all_stages_here
from maskmill.pipeline.runs.stages import Stage
from maskmill.schemas.errors import RunFailed

_SIZE = struct.Struct("<Q")
_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux
_START = (
    "import sys; sys.path[:] = sys.argv[1:]; from maskmill.jobs.engines.child import main; main()"
)


class ChildDied(Exception):
    """The child process ended before it had answered."""


class Child:
    """One child process, its stages opened."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        # -I: nothing of the user's folder or environment decides what the child imports.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", _START, *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            self._ask(tuple(stages))
        except ChildDied as death:
            raise RunFailed(f"a process of its own could not be started: {death}") from death

    def do(self, row: pa.Table) -> list[dict[str, Any]]:
        """All stages of a one-row PENDING table; its TALLY rows.

        Raises:
            ChildDied: the process ended meanwhile.
            Exception: what a stage raised.
        """
        answer = self._ask(row)
        if isinstance(answer, BaseException):
            raise answer
        rows: list[dict[str, Any]] = answer
        return rows

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()

    def _ask(self, question: Any) -> Any:
        assert self._process.stdin and self._process.stdout
        try:
            _send(self._process.stdin, question)
            return _receive(self._process.stdout)
        except (EOFError, BrokenPipeError) as error:
            status = self._process.wait()
            raise ChildDied(f"it ended with status {status}") from error


def main() -> None:
    """The child's side: open the stages, then do one row after the other until the pipe closes."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no answer
    _end_with_parent()
    questions = sys.stdin.buffer
    operators = [stage.open() for stage in _receive(questions)]
    _send(answers, "ready")
    while True:
        try:
            table = _receive(questions)
        except EOFError:
            return
        try:
            with all_stages_here(), ended_without_device():
                for operator in operators:
                    table = operator(table)
            _send(answers, table.to_pylist())
        except Exception as error:
            _send(answers, error)


def _end_with_parent() -> None:
    """A child must not go on committing after its run was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)


def _send(stream: Any, message: Any) -> None:
    data = pickle.dumps(message, protocol=5)
    stream.write(_SIZE.pack(len(data)))
    stream.write(data)
    stream.flush()


def _receive(stream: BinaryIO | Any) -> Any:
    """The next message. It comes from our own process, never from a file."""
    return pickle.loads(_exactly(stream, _SIZE.unpack(_exactly(stream, _SIZE.size))[0]))


def _exactly(stream: BinaryIO | Any, count: int) -> bytes:
    data: bytes = stream.read(count)
    if len(data) < count:
        raise EOFError
    return data
