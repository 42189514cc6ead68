"""What reviewers said of images: every word kept, the last one counts. SQLite, write-ahead log.

A decision is on the disk when it is acknowledged (``synchronous=FULL``): a killed process, or a
machine without power, loses none. Several servers may share one file.
"""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from threading import Lock
from typing import Any, Final, Literal

from maskmill.pipeline.review.query import DECISIONS
from maskmill.schemas.errors import SettingsError

FILE: Final = "decisions.sqlite"
Kind = Literal["decision", "note"]
MAX_NOTE: Final = 4000
_WAIT_SECONDS: Final = 20.0  # for another process that is writing
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS history(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  key TEXT NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('decision', 'note')),
  value TEXT NOT NULL,
  reviewer TEXT NOT NULL,
  at TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS history_of_key ON history(key, kind, id);
"""


@dataclass(frozen=True, slots=True)
class Word:
    """One thing that one reviewer said of one image; an empty ``value`` takes back what was."""

    id: int
    key: str
    kind: Kind
    value: str
    reviewer: str
    at: str  # UTC, ISO 8601


@dataclass(frozen=True, slots=True)
class Verdict:
    """How an image stands. ``decision`` is '' where there is none, or none any more."""

    key: str
    decision: str
    note: str
    reviewer: str
    at: str


class Decisions:
    """The file of decisions in a folder. Threads and processes may share it.

    Raises:
        SettingsError: the folder cannot be written to, or holds another kind of file.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self._lock = Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                self.path, timeout=_WAIT_SECONDS, check_same_thread=False, isolation_level=None
            )
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.executescript(_SCHEMA)
        except sqlite3.OperationalError as error:
            raise self._refused(error) from error
        except sqlite3.DatabaseError as error:  # another kind of file, or a damaged one
            raise SettingsError(
                f"{self.path} holds no decisions that can be read ({error}): put back a copy of "
                "it, or move it away to begin without; --review-dir keeps them elsewhere"
            ) from error
        except OSError as error:
            raise self._refused(error) from error

    def _refused(self, error: Exception) -> SettingsError:
        return SettingsError(
            f"decisions cannot be kept in {self.path}: {error}; give a folder on a disk of this "
            "machine with --review-dir"
        )

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._connection.close()

    def say(self, key: str, kind: Kind, value: str, reviewer: str) -> Word:
        """Keep one word; it is on the disk when this returns.

        Raises:
            SettingsError: a decision that there is not, or a note that is too long.
        """
        if kind == "decision" and value not in ("", *DECISIONS):
            raise SettingsError(f"no decision {value!r}; there are: {', '.join(DECISIONS)}")
        if len(value) > MAX_NOTE:
            raise SettingsError(f"a note of {len(value)} letters; at most {MAX_NOTE}")
        at = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        with self._lock:
            number = self._connection.execute(
                "INSERT INTO history(key, kind, value, reviewer, at) VALUES (?, ?, ?, ?, ?)",
                (key, kind, value, reviewer, at),
            ).lastrowid
        return Word(int(number or 0), key, kind, value, reviewer, at)

    def last_id(self) -> int:
        """Number of the newest word, 0 where there is none; other processes' words count."""
        return int(self._ask("SELECT coalesce(max(id), 0) FROM history")[0][0])

    def changed_since(self, number: int) -> list[Verdict]:
        """How every image stands of which something was said after the word ``number``."""
        inside = "SELECT DISTINCT key FROM history WHERE id > ?"
        return list(_verdicts(self._ask(_STANDING.format(keys=inside), (number,))))

    def standing(self) -> list[Verdict]:
        """How every image stands of which anything was ever said, by key."""
        return list(_verdicts(self._ask(_STANDING.format(keys="SELECT key FROM history"))))

    def history(self, key: str) -> list[Word]:
        """Everything that was said of an image, oldest first."""
        query = "SELECT id, key, kind, value, reviewer, at FROM history WHERE key = ? ORDER BY id"
        return [Word(*row) for row in self._ask(query, (key,))]

    def per_minute(self, minutes: int = 10) -> float:
        """Decisions of the last minutes, per minute between the first and the last of them."""
        start = datetime.now(timezone.utc) - timedelta(minutes=minutes)
        count, first, last = self._ask(
            "SELECT count(*), min(at), max(at) FROM history WHERE kind = 'decision' AND at >= ?",
            (start.isoformat(timespec="milliseconds"),),
        )[0]
        if count < 2:
            return 0.0
        seconds = (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds()
        return round((count - 1) * 60 / seconds, 1) if seconds > 0 else 0.0

    def _ask(self, query: str, values: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._connection.execute(query, tuple(values)).fetchall()


_STANDING: Final = """
SELECT key, kind, value, reviewer, at FROM history WHERE id IN (
  SELECT max(id) FROM history WHERE key IN ({keys}) GROUP BY key, kind
) ORDER BY key, id
"""


def _verdicts(rows: Iterable[tuple[str, str, str, str, str]]) -> Iterable[Verdict]:
    found: dict[str, dict[str, tuple[str, str, str]]] = {}
    for key, kind, value, reviewer, at in rows:
        found.setdefault(key, {})[kind] = value, reviewer, at
    for key, kinds in found.items():
        decision, reviewer, at = kinds.get("decision", ("", "", ""))
        note, noting, noted_at = kinds.get("note", ("", "", ""))
        yield Verdict(key, decision, note, reviewer or noting, at or noted_at)


def read_verdicts(folder: Path) -> list[Verdict]:
    """How every image stands, from a folder that nobody writes to.

    Raises:
        SettingsError: there are no decisions.
    """
    if not (folder / FILE).is_file():
        raise SettingsError(
            f"nobody has decided anything yet: there is no {folder / FILE}; `maskmill view` makes "
            "it with the first decision"
        )
    with closing(Decisions(folder)) as decisions:
        return decisions.standing()
