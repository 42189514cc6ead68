"""What is said on the way: the line of progress where there is no terminal, notes of an engine."""

import time

import pytest

from maskmill.jobs import progress
from maskmill.jobs.engines.choice import RunOptions, engine_notes


def test_the_line_names_what_it_counts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    clock = iter(range(100))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    with progress.progress_meter(9, 0, "audit", "pairs") as meter:
        meter.advance(2, 0)
        meter.advance(3, 1)
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("audit: 2 of 9")
    assert second.startswith("audit: 5 of 9, ")
    assert " pairs/s, " in second and second.endswith("1 failed")


@pytest.mark.parametrize(
    ("workers", "name", "blocks", "said"),
    [
        (8, "ray", 3, ["--workers 8 is lowered to 3: 3 blocks are to do"]),
        (2, "ray", 1, ["--workers 2 is lowered to 1: 1 block is to do"]),
        (3, "ray", 3, []),
        (None, "ray", 1, []),
        (8, "local", 3, []),
    ],
)
def test_workers_that_find_no_block_are_named(
    monkeypatch: pytest.MonkeyPatch, workers: int | None, name: str, blocks: int, said: list[str]
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    notes = engine_notes(RunOptions(workers=workers), name, blocks)
    assert [note.partition(", and")[0] for note in notes] == said
