"""AUDIT rows, block after block -> the sums, resamples and shortlists an audit is written from."""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.metrics.boundary import TRIMAP_WIDTHS
from maskmill.pipeline.metrics.confusion import add_cells, empty_matrix
from maskmill.pipeline.metrics.intervals import DEFAULT_RESAMPLES, Bootstrap
from maskmill.pipeline.metrics.totals import (
    CONFIDENCE_LEVELS,
    Sums,
    TotalsLayout,
    add_boundary,
    add_confidence,
    matrix_to_vector,
)
from maskmill.schemas.arrays import ConfusionCounts
from maskmill.schemas.labels import LabelMap

Row = dict[str, Any]

WORST_IMAGES = 200
WORST_PER_CLASS = 6
KEPT_REGIONS = 500
KEPT_EXAMPLES = 5
FAR_GAIN = 0.1  # of mIoU by moving a pair back: no chance, but that picture's own mishap
_PLACE_COLUMNS = (
    "pair_id", "key", "prediction_uri", "truth_uri", "prediction_item", "truth_item", "image_uri",
)  # fmt: skip
_IMAGE_COLUMNS = (*_PLACE_COLUMNS, "miou", "pixel_accuracy", "boundary_iou", "width", "height")


class Shortlist:
    """The ``size`` rows of smallest rank seen so far; ties go to the smaller pair_id."""

    def __init__(self, size: int, rank: Callable[[Row], float]) -> None:
        self._size, self._rank = size, rank
        self._heap: list[tuple[float, int, int, Row]] = []
        self._seen = 0

    def offer(self, row: Row) -> None:
        """Keep the row if it is among the smallest."""
        self._seen += 1
        entry = (-self._rank(row), -row["pair_id"], -self._seen, row)
        if len(self._heap) < self._size:
            heapq.heappush(self._heap, entry)
        elif entry[:3] > self._heap[0][:3]:
            heapq.heapreplace(self._heap, entry)

    def rows(self) -> list[Row]:
        """Smallest rank first."""
        return [entry[3] for entry in sorted(self._heap, key=lambda entry: entry[:3], reverse=True)]


@dataclass(slots=True)
class Census:
    """Files and pixels of one kind of oddity, with the first few keys."""

    files: int = 0
    pixels: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, key: str, pixels: int) -> None:
        """Count one file."""
        self.files += 1
        self.pixels += pixels
        if len(self.examples) < KEPT_EXAMPLES:
            self.examples.append(key)


class AuditTally:
    """Everything an audit needs to remember while its rows pass by once, in pair_id order.

    Memory does not grow with the number of pairs, but for the hashes of pictures where those are
    asked for.

    Args:
        labels: the classes.
        num_ok: how many ok rows will come; the bootstrap must know.
        resamples: of the bootstrap.
        seed: of the bootstrap.
        alignment_every: which pairs were tried turned and shifted (AuditSettings).
    """

    def __init__(
        self,
        labels: LabelMap,
        num_ok: int,
        *,
        resamples: int = DEFAULT_RESAMPLES,
        seed: int = 0,
        alignment_every: int = 1,
    ) -> None:
        self.labels = labels
        self.layout = TotalsLayout.of(labels)
        num_classes = len(labels.classes)
        self.matrix: ConfusionCounts = empty_matrix(num_classes)
        self.vector: Sums = np.zeros(self.layout.size)
        self.bootstrap = Bootstrap(num_ok, self.layout.size, resamples=resamples, seed=seed)
        self.trimap = np.zeros((len(TRIMAP_WIDTHS), num_classes, 2), dtype=np.int64)
        self.images_with_class = np.zeros((num_classes, 2), dtype=np.int64)  # truth, prediction
        self.ok = self.failed = self.pixels = self.ignored_pixels = 0
        self.failures: Counter[str] = Counter()
        self.failed_rows = Shortlist(WORST_IMAGES, lambda row: row["pair_id"])
        self.strange: dict[tuple[str, int], Census] = {}
        self.kinds: dict[str, Counter[str]] = {"prediction": Counter(), "truth": Counter()}
        self.findings: dict[str, Census] = {}
        self.finding_rows = Shortlist(KEPT_REGIONS, lambda row: row["pair_id"])
        self.worst = Shortlist(WORST_IMAGES, lambda row: row["miou"])
        self.worst_of_class = [
            Shortlist(WORST_PER_CLASS, lambda row: row["class_iou"]) for _ in range(num_classes)
        ]
        self.regions = Shortlist(KEPT_REGIONS, lambda row: -row["area"])
        self.cores = Shortlist(KEPT_REGIONS, lambda row: -row["core"])
        self.alignments = Alignments(alignment_every)
        self.notes: Counter[str] = Counter()
        self._pictures: dict[str, tuple[str, str]] = {}
        self.contradictions: list[tuple[str, str]] = []

    def add(self, rows: Iterable[Row]) -> None:
        """Add the rows of one block."""
        vectors = [self._add_ok(row) for row in rows if self._is_ok(row)]
        if vectors:
            stacked = np.stack(vectors)
            self.vector += stacked.sum(axis=0)
            self.bootstrap.feed(stacked)

    def _is_ok(self, row: Row) -> bool:
        if row["status"] == "ok":
            return True
        self.failed += 1
        self.failures[row["error_code"]] += 1
        self.failed_rows.offer(
            {name: row[name] for name in ("pair_id", "key", "error_code", "error_message")}
        )
        return False

    def _add_ok(self, row: Row) -> Sums:
        self.ok += 1
        self.pixels += row["pixels"]
        self.ignored_pixels += row["ignored_pixels"]
        self.notes.update(note.partition(" from ")[0] for note in row["notes"] or ())
        self._add_oddities(row)
        self._add_shortlists(row)
        add_cells(self.matrix, *_columns(row["cells"], "truth", "prediction", "pixels"))
        self._add_trimap(row["trimap"] or ())
        return row_to_vector(row, self.layout)

    def _add_trimap(self, points: Iterable[Row]) -> None:
        for point in points:
            place = TRIMAP_WIDTHS.index(point["width"]), point["index"]
            self.trimap[place] += point["intersection"], point["union"]

    def _add_oddities(self, row: Row) -> None:
        key = row["key"]
        for side in ("prediction", "truth"):
            self.kinds[side][row[f"{side}_kind"]] += 1
        for strange in row["strange_values"] or ():
            census = self.strange.setdefault((strange["side"], strange["value"]), Census())
            census.add(key, strange["pixels"])
        for finding in row["findings"] or ():
            self.findings.setdefault(finding["check"], Census()).add(key, finding["count"])
            self.finding_rows.offer({"pair_id": row["pair_id"], "key": key, **finding})
        self.alignments.add(row)
        self._add_picture(row)

    def _add_picture(self, row: Row) -> None:
        picture, truth = row["image_sha256"], row["truth_sha256"]
        if picture and truth:
            first = self._pictures.setdefault(picture, (truth, row["key"]))
            if first[0] != truth:
                self.contradictions.append((first[1], row["key"]))

    def _add_shortlists(self, row: Row) -> None:
        short = {name: row[name] for name in _IMAGE_COLUMNS}
        short["classes"] = {score["index"]: score["iou"] for score in row["classes"]}
        if row["miou"] is not None:
            self.worst.offer(short)
        for score in row["classes"]:
            index = score["index"]
            in_truth = score["truth_pixels"] > 0
            self.images_with_class[index] += in_truth, score["predicted_pixels"] > 0
            if in_truth:
                self.worst_of_class[index].offer({**short, "class_iou": score["iou"]})
        for region in row["regions"] or ():
            entry = {name: row[name] for name in _PLACE_COLUMNS} | region
            self.regions.offer(entry)
            self.cores.offer(entry)


class Alignments:
    """What would make the pairs agree better: every turn, every far shift, and common shifts.

    How common a shift is, the pairs of the sample say; pairs of low agreement were tried besides.
    """

    def __init__(self, every: int) -> None:
        self._every = every
        self.tried = 0
        self.turns: dict[str, Census] = {}
        self.shifts: Counter[tuple[int, int]] = Counter()
        self.far = Shortlist(KEPT_EXAMPLES, lambda row: -_gain(row))
        self.num_far = 0
        self.examples: dict[tuple[int, int], list[str]] = {}

    def add(self, row: Row) -> None:
        """Count one ok row."""
        found = row["alignment"]
        in_sample = self._every > 0 and row["pair_id"] % self._every == 0
        self.tried += in_sample
        if found is None:
            return
        if found["turn"]:
            self.turns.setdefault(found["turn"], Census()).add(row["key"], row["pixels"])
            return
        if _gain(row) >= FAR_GAIN:
            self.num_far += 1
            self.far.offer({name: row[name] for name in ("pair_id", "key", "alignment")})
        if not in_sample:  # only the sample says how common a shift is
            return
        shift = found["shift_x"], found["shift_y"]
        self.shifts[shift] += 1
        kept = self.examples.setdefault(shift, [])
        if len(kept) < KEPT_EXAMPLES:
            kept.append(row["key"])


def _gain(row: Row) -> float:
    """How much mIoU the pair wins when it is turned or moved back."""
    alignment = row["alignment"]
    return float(alignment["miou_after"] - alignment["miou_before"])


def row_to_vector(row: Row, layout: TotalsLayout) -> Sums:
    """The sums of one ok row: of its cells, boundaries and confidences."""
    matrix = empty_matrix(layout.num_classes)
    add_cells(matrix, *_columns(row["cells"], "truth", "prediction", "pixels"))
    vector = matrix_to_vector(matrix, layout)
    classes = row["classes"]
    if row["trimap"] is not None and classes:
        places = _columns(classes, "index")[0]
        sums = np.zeros((4, layout.num_classes), dtype=np.int64)
        sums[:, places] = _columns(
            classes, "boundary_intersection", "boundary_union", "band_intersection", "band_union"
        )
        add_boundary(vector, layout, list(sums[:2]), list(sums[2:]))
    if row["levels"]:
        levels = np.zeros((3, CONFIDENCE_LEVELS))
        for level in row["levels"]:
            levels[:, level["level"]] = level["pixels"], level["correct"], level["confidence"]
        add_confidence(vector, layout, levels)
    return vector


def _columns(rows: list[Row], *names: str) -> list[npt.NDArray[np.int64]]:
    return [np.array([row[name] for row in rows], dtype=np.int64) for name in names]
