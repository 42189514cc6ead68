"""Parquet row groups are read once, however many samples follow each other in them."""

from collections import Counter
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow.parquet as pq
import pytest

from maskmill.pipeline.datasets.formats import huggingface_parquet
from maskmill.pipeline.datasets.samples import Sample
from maskmill.pipeline.datasets.trees import open_tree
from maskmill.schemas.labels import LabelMap
from tests.pipeline.datasets.dataset_runs import read_dataset, write_dataset

LABELS = LabelMap.from_names("three", ["background", "cat", "dog"])
GROUPS, ROWS = 3, 7


def written(folder: Path) -> list[Sample]:
    samples = [
        Sample(key=f"{n:02d}.jpg", mask=np.full((3, 4), n % 3, np.uint8), labels=LABELS)
        for n in range(GROUPS * ROWS)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(huggingface_parquet, "ROWS_PER_GROUP", ROWS)
        write_dataset(samples, folder, "huggingface_parquet")
    return samples


def test_each_row_group_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = written(tmp_path)
    reads: Counter[tuple[int, str]] = Counter()
    read_row_group = pq.ParquetFile.read_row_group

    def counted(self: pq.ParquetFile, group: int, columns: list[str]) -> object:
        reads[group, columns[0]] += 1
        return read_row_group(self, group, columns)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    found = read_dataset(tmp_path, "huggingface_parquet")
    assert [int(one.mask[0, 0]) for one in found] == [int(one.mask[0, 0]) for one in samples]
    wanted = {(group, column): 1 for group in range(GROUPS) for column in ("file_name", "mask")}
    assert reads == wanted


def test_the_file_is_not_read_whole_for_a_sample(tmp_path: Path) -> None:
    """Opened once for the keys, and once for each of the groups."""
    written(tmp_path)

    class Counting:
        def __init__(self) -> None:
            self._tree = open_tree(str(tmp_path))
            self.opened = 0

        def __getattr__(self, name: str) -> object:
            return getattr(self._tree, name)

        def open(self, name: str) -> BinaryIO:
            self.opened += 1
            return self._tree.open(name)

        def read(self, name: str) -> bytes:
            assert not name.endswith(".parquet")
            return self._tree.read(name)

    tree = Counting()
    assert len(read_dataset(tree, "huggingface_parquet")) == GROUPS * ROWS
    assert tree.opened == 1 + GROUPS
