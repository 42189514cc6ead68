"""What to send to annotators next: a strategy's best, as a table and as a list."""

from dataclasses import dataclass
from itertools import islice
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.selection.candidates import Candidates
from maskmill.pipeline.selection.image_list import write_list
from maskmill.pipeline.selection.run_images import FOLDER
from maskmill.pipeline.selection.strategies import STRATEGIES
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.tables.selection import SELECTION

TABLE: Final = f"{FOLDER}/selected.parquet"
LIST: Final = f"{FOLDER}/selected.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """``table`` has SELECTION's columns; ``images`` were to choose from, ``known`` beside them."""

    table: pa.Table
    images: int
    known: int
    notes: tuple[str, ...]


def choose(images: Candidates, strategy: str, count: int) -> Choice:
    """The ``count`` best images by a strategy of STRATEGIES; all where there are fewer.

    Raises:
        SettingsError: every image is known already.
    """
    known = int(images.known.sum())
    if images.closed.all():
        raise SettingsError(
            f"there is no image left to choose: --exclude names {known:,} of {len(images):,}"
        )
    picks = list(islice(STRATEGIES[strategy](images), count))
    rarities = images.rarities()
    named = images.table.take(pa.array([pick.place for pick in picks])).to_pylist()
    rows = [
        {
            **row,
            "rank": rank,
            "gain": pick.gain,
            "distance": pick.distance,
            "rarest_class": _rarest(images, rarities, pick.place),
        }
        for rank, (row, pick) in enumerate(zip(named, picks, strict=True), 1)
    ]
    return Choice(
        table=pa.Table.from_pylist(rows, schema=SELECTION),
        images=int((~images.closed).sum()),
        known=known,
        notes=(*images.notes, *_shortage(count, len(picks))),
    )


def write_choice(layout: RunLayout, choice: Choice) -> dict[str, str]:
    """The table and the list into the run folder; their paths."""
    layout.write_table(TABLE, choice.table)
    write_list(layout, LIST, choice.table.select(["key", "uri"]).to_pylist())
    return {"table": layout.path(TABLE), "list": layout.path(LIST)}


def _rarest(images: Candidates, rarities: npt.NDArray[np.float64], place: int) -> str | None:
    columns = np.flatnonzero(images.classes[place])
    return images.names[columns[np.argmax(rarities[columns])]] if len(columns) else None


def _shortage(count: int, found: int) -> tuple[str, ...]:
    return (f"only {found:,} images are left to choose from, {count:,} asked for",) * (
        found < count
    )
