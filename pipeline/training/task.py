"""TrainingTask: all that a worker needs to train, settled; small, and it travels."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from maskmill.pipeline.convert.conversion import ConversionPlan
from maskmill.pipeline.models.choice import ModelChoice
from maskmill.pipeline.models.spec import ModelSpec
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.training.recipe import Recipe
from maskmill.schemas.labels import LabelMap


@dataclass(frozen=True, kw_only=True)
class TrainingTask:
    """A training whose every setting is known.

    ``spec`` is the model that comes out; ``inputs`` says how many samples the data had, and the
    hash of their manifest. ``crop`` is in pixels; ``steps`` in all; ``workers`` how
    many train together. ``class_weights`` are (C,) or None.
    """

    layout: RunLayout
    data: ConversionPlan
    choice: ModelChoice
    spec: ModelSpec
    recipe: Recipe
    fingerprint: str
    inputs: str
    epochs: int
    crop: int
    learning_rate: float
    warm_up: int
    batch_norm: str
    device: str
    precision: str
    threads: int
    workers: int
    samples: int
    class_weights: tuple[float, ...] | None

    @property
    def labels(self) -> LabelMap:
        """The classes that are learnt."""
        return self.data.mapping.target

    @property
    def steps_per_epoch(self) -> int:
        """Of the optimiser."""
        return -(-self.samples // self.recipe.batch_size)

    @property
    def steps(self) -> int:
        """Of the optimiser, in all."""
        return self.epochs * self.steps_per_epoch


class Entries(Sequence[Mapping[str, Any]]):
    """Manifest rows of the good samples of a role, in image_id order; Arrow, not objects."""

    def __init__(self, layout: RunLayout, role: str) -> None:
        ids = [
            self._ids(table, role)
            for table in layout.committed_rows(["image_id", "role", "status"])
        ]
        wanted = pa.chunked_array(
            [pa.array([], pa.int64()), *(one.combine_chunks() for one in ids)]
        )
        manifest = layout.read_table(layout.manifest)
        self._rows = manifest.filter(pc.is_in(manifest["image_id"], wanted.combine_chunks()))

    @staticmethod
    def _ids(table: pa.Table, role: str) -> pa.ChunkedArray:
        chosen = pc.and_(pc.equal(table["role"], role), pc.equal(table["status"], "ok"))
        return table.filter(chosen)["image_id"]

    def __len__(self) -> int:
        return int(self._rows.num_rows)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        return self._rows.slice(place, 1).to_pylist()[0]

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return (self[place] for place in range(len(self)))
