"""A slim index of a run's rows in DuckDB: what galleries filter, sort and count by, no more.

It is a cache: made from the committed rows, continued as blocks commit, made anew whenever it is
of another run or of another version of this module. No extension is ever fetched.
"""

import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from threading import RLock
from typing import Any, Final

import duckdb
import pyarrow as pa

from maskmill.pipeline.review.subject import Subject
from maskmill.schemas.errors import RunFailed

VERSION: Final = 1
FILE: Final = "review/index.duckdb"
WORST_FIRST: Final = ("audit", "finetune")
"""Commands whose images are reviewed by their mIoU, the smallest first."""

_BATCH: Final = 128  # blocks read at once: bounds the memory
_SETTINGS: Final = {
    "memory_limit": "256MB",
    "threads": "2",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}
_TABLES: Final = """
CREATE TABLE made(stamp VARCHAR);
CREATE TABLE blocks(block BIGINT, stamp VARCHAR);
CREATE TABLE images(n BIGINT, key VARCHAR, folder VARCHAR, block BIGINT, status VARCHAR,
  error_code VARCHAR, error_message VARCHAR, width INTEGER, height INTEGER, confidence DOUBLE,
  entropy DOUBLE, margin DOUBLE, unsure DOUBLE, ignored DOUBLE, miou DOUBLE, accuracy DOUBLE,
  stamp VARCHAR);
CREATE TABLE presence(n BIGINT, class INTEGER, share DOUBLE, sure DOUBLE);
CREATE TABLE scores(n BIGINT, score DOUBLE);
"""
_TEMPORARY: Final = """
CREATE TEMP TABLE decided(key VARCHAR, decision VARCHAR, note VARCHAR, reviewer VARCHAR,
  decided_at VARCHAR);
CREATE TEMP TABLE audited(key VARCHAR, miou DOUBLE);
CREATE TEMP VIEW gallery AS
  SELECT i.* EXCLUDE (miou), coalesce(a.miou, i.miou) AS miou, s.score, d.decision, d.note,
    d.reviewer, d.decided_at
  FROM images i LEFT JOIN scores s USING (n) LEFT JOIN decided d USING (key)
    LEFT JOIN audited a USING (key);
"""
_INSERT_IMAGES: Final = """
INSERT INTO images SELECT n, key,
  CASE WHEN contains(key, '/') THEN regexp_replace(key, '/[^/]*$', '') ELSE '' END,
  block, status, error_code, error_message, width, height, confidence, entropy, margin, unsure,
  ignored, miou, accuracy, stamp FROM fresh
"""
_INSERT_PRESENCE: Final = """
INSERT INTO presence SELECT n, c.class, c.share, c.sure
FROM (SELECT n, unnest(classes) AS c FROM fresh)
"""
_SCORES: Final = """
CREATE OR REPLACE TABLE scores AS
WITH ok AS (SELECT n, entropy, miou FROM images WHERE status <> 'failed'),
  total AS (SELECT count(*) AS images FROM ok),
  seen AS (SELECT class, count(*) AS images FROM presence WHERE class <> ? GROUP BY class),
  rarest AS (SELECT n, min(seen.images) AS images FROM presence JOIN seen USING (class) GROUP BY n),
  placed AS (SELECT n, miou, CASE WHEN entropy IS NULL THEN 0 ELSE
    (rank() OVER (ORDER BY entropy) - 1) / greatest(1, total.images - 1) END AS place
    FROM ok, total)
SELECT n, CASE WHEN ? THEN 1 - placed.miou ELSE place + 0.5 * CASE
    WHEN rarest.images IS NULL OR total.images < 2 THEN 0
    ELSE ln(total.images / rarest.images) / ln(total.images) END END AS score
FROM placed LEFT JOIN rarest USING (n), total
"""
"""As `pipeline/prelabel/review_order.py` has it, rarity weight 0.5; of audits the worst first."""


class SlimIndex:
    """The index of one subject. Threads may share it: every query takes its turn.

    ``path`` is where it is kept, None for memory alone. ``note`` says why it could not be kept.
    """

    def __init__(self, subject: Subject, path: Path | None) -> None:
        self._subject, self._lock, self.note = subject, RLock(), ""
        self._stamp = f"{VERSION} {subject.command} {subject.identity}"
        self._connection = self._opened(path)
        self._connection.execute(_TEMPORARY)
        self._known: dict[int, str] = dict(self.ask("SELECT block, stamp FROM blocks"))

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._connection.close()

    def ask(self, query: str, values: list[Any] | None = None) -> list[tuple[Any, ...]]:
        """The rows of an answer."""
        with self._lock:
            return self._connection.execute(query, values or []).fetchall()

    def put_decisions(self, rows: list[tuple[str, str | None, str, str, str]]) -> None:
        """(key, decision, note, reviewer, when) as they stand now, in place of older ones."""
        if not rows:
            return
        with self._lock:
            columns = {
                name: pa.array([row[place] for row in rows], pa.string())
                for place, name in enumerate(("key", "decision", "note", "reviewer", "decided_at"))
            }
            self._insert(
                "decided", columns, before="DELETE FROM decided WHERE key IN (SELECT key FROM told)"
            )

    def put_scores(self, miou: dict[str, float]) -> None:
        """What an audit said of images, by key."""
        columns = {
            "key": pa.array(list(miou), pa.string()),
            "miou": pa.array(list(miou.values()), pa.float64()),
        }
        with self._lock:
            self._insert("audited", columns, before="DELETE FROM audited")

    def refresh(self) -> bool:
        """Take in what has been committed since; True where anything had.

        Raises:
            RunFailed: rows that cannot be read.
        """
        with self._lock:
            stamps = self._subject.blocks()
            fresh = sorted(
                block for block, stamp in stamps.items() if self._known.get(block) != stamp
            )
            gone = [block for block in self._known if block not in stamps]
            for start in range(0, len(fresh), _BATCH):
                self._take(fresh[start : start + _BATCH], stamps)
            if gone:
                self._drop(gone)
            if fresh or gone:
                background = self._subject.labels.background_index
                values = [
                    -1 if background is None else background,
                    self._subject.command in WORST_FIRST,
                ]
                self._connection.execute(_SCORES, values)
            self._known = stamps
            return bool(fresh or gone)

    def _take(self, blocks: list[int], stamps: dict[int, str]) -> None:
        rows = self._subject.rows(blocks)
        self._connection.execute("BEGIN")
        try:
            self._drop([block for block in blocks if block in self._known])
            self._make_fresh(rows, blocks)
            self._connection.execute(_INSERT_IMAGES)
            self._connection.execute(_INSERT_PRESENCE)
            self._insert(
                "blocks",
                {
                    "block": pa.array(blocks, pa.int64()),
                    "stamp": pa.array([stamps[block] for block in blocks], pa.string()),
                },
            )
            self._connection.execute("COMMIT")
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise

    def _make_fresh(self, rows: list[str] | pa.Table, blocks: list[int]) -> None:
        statement = f"CREATE OR REPLACE TEMP TABLE fresh AS {self._subject.selection()}"
        if isinstance(rows, pa.Table):
            self._connection.register("given", rows)
            self._connection.execute(statement.format(source="given"))
            self._connection.unregister("given")
            return
        try:
            self._connection.execute(statement.format(source="read_parquet(?)"), [rows])
        except duckdb.Error as error:
            layout = self._subject.layout
            if layout is not None:  # who reads rows elsewhere says what is wrong with them
                for block in blocks:
                    layout.committed_block(block)
            raise RunFailed(f"rows of {self._subject.source} cannot be read: {error}") from error

    def _insert(self, table: str, columns: dict[str, pa.Array], before: str = "") -> None:
        """Many rows at once, by Arrow: one by one they take a millisecond each."""
        self._connection.register("told", pa.table(columns))
        if before:
            self._connection.execute(before)
        self._connection.execute(f"INSERT INTO {table} SELECT * FROM told")
        self._connection.unregister("told")

    def _drop(self, blocks: list[int]) -> None:
        if not blocks:
            return
        marks = ",".join("?" * len(blocks))
        inside = f"block IN ({marks})"
        self._connection.execute(
            f"DELETE FROM presence WHERE n IN (SELECT n FROM images WHERE {inside})", blocks
        )
        for table in ("images", "blocks"):
            self._connection.execute(f"DELETE FROM {table} WHERE {inside}", blocks)

    def _opened(self, path: Path | None) -> duckdb.DuckDBPyConnection:
        if path is None:
            return self._new(":memory:")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            connection = duckdb.connect(str(path), config=_config())
            with suppress(duckdb.Error):  # no such table: another version, or a fresh file
                if connection.execute("SELECT stamp FROM made").fetchall() == [(self._stamp,)]:
                    return connection
            connection.close()
            path.unlink(missing_ok=True)
            Path(f"{path}.wal").unlink(missing_ok=True)
            return self._new(str(path))
        except duckdb.IOException as error:
            held = "lock" in str(error).lower()
            self.note = (
                f"{path} is held by another process" if held else f"{path} cannot be used: {error}"
            )
        except (duckdb.Error, OSError) as error:
            self.note = f"{path} cannot be used: {error}"
        return self._new(":memory:")

    def _new(self, path: str) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect(path, config=_config())
        connection.execute(_TABLES)
        connection.execute("INSERT INTO made VALUES (?)", [self._stamp])
        return connection


def _config() -> dict[str, str | bool | int | float | list[str]]:
    return {**_SETTINGS, "temp_directory": tempfile.gettempdir()}


def index_place(subject: Subject, cache: Path) -> Path | None:
    """Where the index of a subject is kept: in the run's folder where that is on a disk one may
    write to, else in ``cache``; None for a data set, whose index is made anew every time."""
    layout = subject.layout
    if layout is None:
        return None
    if layout.is_local and os.access(layout.local(""), os.W_OK):
        return layout.local(FILE)
    name = f"{hashlib.sha256(layout.root.encode()).hexdigest()[:20]}.duckdb"
    return cache / "view" / name
