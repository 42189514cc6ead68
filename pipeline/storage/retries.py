"""Patience with remote storage: what is tried again, how long, and how often it was needed.

Stores answer 503 SlowDown when they are asked too fast, connections break, answers stall. Each
such request is sent again after a wait that doubles (with full jitter, so that many workers do not
come back at one moment), until it succeeds or ``Patience.seconds`` are over. A denial is believed
once it was said ``DENIALS`` times: stores under load, and rights that were given a moment ago,
deny what they allow a second later.
"""

import random
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from maskmill.schemas.text import count_of

Result = TypeVar("Result")

DENIALS: Final = 4
"""So often in one operation must a store deny access until that is its answer."""

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_TRANSIENT_STATUS: Final = frozenset({408, 429, 500, 502, 503, 504, 509})
_TRANSIENT_WORDS: Final = ("SlowDown", "<Code>RequestTimeout</Code>")
_BROKEN_CONNECTION: Final = ("HTTP error", "HttpError", "error sending request")
_NOBODY_THERE: Final = "kind: Connect"


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long one operation is tried, in seconds.

    ``stranger_seconds`` is the patience with an address that refuses the connection and has never
    answered yet: more likely a wrong address than a bad moment.
    """

    seconds: float = 300.0
    stranger_seconds: float = 5.0
    first_wait: float = 0.2
    longest_wait: float = 15.0


@dataclass(slots=True)
class RetryTally:
    """How often this process asked remote storage again, and the seconds it waited to do so."""

    retries: int = 0
    waited_seconds: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, retries: int, waited_seconds: float) -> None:
        """Count retries: our own, or those a worker reports."""
        with self._lock:
            self.retries += retries
            self.waited_seconds += waited_seconds

    def sentence(self) -> str:
        """``12 retries, storage is slow``; empty where there was none."""
        if not self.retries:
            return ""
        return f"{count_of(self.retries, 'retry', 'retries')}, storage is slow"


RETRIES: Final = RetryTally()
"""The tally of this process."""


class StorageTrouble(OSError):
    """A store that still failed after every retry."""


def is_transient(error: BaseException) -> bool:
    """True for what may pass: throttling, errors of the server, broken or stalled connections."""
    text = str(error)
    if any(word in text for word in _TRANSIENT_WORDS):
        return True
    status = _STATUS.search(text)
    if status is not None:
        return int(status[1]) in _TRANSIENT_STATUS
    return any(word in text for word in _BROKEN_CONNECTION)


def is_denial(error: BaseException) -> bool:
    """True for a plain denial; a key or a signature that is wrong stays so."""
    text = str(error)
    status, code = _STATUS.search(text), _CODE.search(text)
    denied = status is not None and status[1] == "403"
    return denied and (code is None or code[1] == "AccessDenied")  # HEAD has no body


class Persistence:
    """Tries operations on one store again and again; remembers whether it ever answered."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._answered = False

    def insist(self, operation: Callable[[], Result]) -> Result:
        """The result of ``operation``, tried until it succeeds or fails for good.

        Only for operations that may be done twice.

        Raises:
            StorageTrouble: it failed in ways that may pass for longer than the patience.
            Exception: whatever else ``operation`` raises, at once.
        """
        started = time.monotonic()
        tries = denials = 0
        while True:
            try:
                result = operation()
            except Exception as error:
                tries += 1
                denials += is_denial(error)
                if not is_transient(error) and not 0 < denials < DENIALS:
                    self._answered |= _STATUS.search(str(error)) is not None
                    raise
                self._wait(error, tries, started)
            else:
                self._answered = True
                return result

    def _wait(self, error: Exception, tries: int, started: float) -> None:
        """Sleep before the next try, or give up."""
        stranger = _NOBODY_THERE in str(error) and not self._answered
        limit = self._patience.stranger_seconds if stranger else self._patience.seconds
        spent = time.monotonic() - started
        ceiling = min(
            self._patience.longest_wait, self._patience.first_wait * 2 ** min(tries - 1, 30)
        )
        wait = random.uniform(ceiling / 4, ceiling)
        if spent + wait > limit:
            raise StorageTrouble(
                f"gave up after {count_of(tries, 'try', 'tries')} in {spent:.0f} s: "
                f"{first_line(error)}"
            ) from error
        RETRIES.add(1, wait)
        time.sleep(wait)


def first_line(error: BaseException) -> str:
    """What an error says, without the answer's body and the dump that obstore adds."""
    line = str(error).partition("\n")[0].partition("<?xml")[0]
    return line.strip().rstrip(":") or type(error).__name__
