"""AUDIT rows, block after block -> the sums, resamples and shortlists an audit is written from."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.audit.class_maps import ClassMaps
from maskmill.pipeline.audit.exchanges import find_exchanges
from maskmill.pipeline.audit.operator import AuditSettings
from maskmill.pipeline.audit.repeats import Repeat, Repeats
from maskmill.pipeline.audit.rings import rings_that_fit
from maskmill.pipeline.audit.shortlists import KEPT_EXAMPLES, KEPT_KEYS, Census, Shortlist
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
from maskmill.schemas.errors import ErrorCode
from maskmill.schemas.labels import LabelMap

Row = dict[str, Any]

WORST_IMAGES = 200
WORST_PER_CLASS = 6
KEPT_REGIONS = 500
LOW_AGREEMENT = 0.8  # mIoU of a pair below which its files may lie under wrong names
_PLACE_COLUMNS = (
    "pair_id", "key", "prediction_uri", "truth_uri", "prediction_item", "truth_item", "image_uri",
)  # fmt: skip
OTHER_SIZES = (ErrorCode.SIZE_MISMATCH.value, ErrorCode.ORIENTATION_MISMATCH.value)
SUSPECTS = 1000  # pairs that are read again: of those that agree least, and of other sizes
_IMAGE_COLUMNS = (*_PLACE_COLUMNS, "miou", "pixel_accuracy", "boundary_iou", "width", "height")


class AuditTally:
    """Everything an audit needs to remember while its rows pass by once, in pair_id order.

    Memory does not grow with the number of pairs, but for those whose masks are there twice.

    Args:
        labels: the classes.
        num_ok: how many ok rows will come; the bootstrap must know.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """

    def __init__(
        self,
        labels: LabelMap,
        num_ok: int,
        *,
        resamples: int = DEFAULT_RESAMPLES,
        seed: int = 0,
    ) -> None:
        self.labels = labels
        self.layout = TotalsLayout.of(labels)
        num_classes = len(labels.classes)
        self.matrix: ConfusionCounts = empty_matrix(num_classes)
        self.vector: Sums = np.zeros(self.layout.size)
        self.bootstrap = Bootstrap(num_ok, self.layout.size, resamples=resamples, seed=seed)
        self.trimap = np.zeros((len(TRIMAP_WIDTHS), num_classes, 2), dtype=np.int64)
        self.changed_images = np.zeros(num_classes, dtype=np.int64)
        self.images_with_class = np.zeros((num_classes, 2), dtype=np.int64)  # truth, prediction
        self.ok = self.failed = self.pixels = self.ignored_pixels = 0
        self.failures: Counter[str] = Counter()
        self.failed_files: dict[str, Census] = {}
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
        self.alignments = Alignments()
        self.swapped: dict[
            tuple[int, ...], Census
        ] = {}  # ring of classes -> where one image has it
        self.num_undecided = 0
        self.undecided: dict[str, Census] = {}  # by reason; a pair may have several
        self.num_low = 0  # pairs that agree little
        self.low = Shortlist(SUSPECTS, lambda row: row["miou"])
        self.other_sizes = Shortlist(SUSPECTS, lambda row: row["pair_id"])
        self.repeats = Repeats()
        self.repeated: list[Repeat] = []
        self.exchanged: list[tuple[str, str]] = []
        self.searched = 0  # pairs that were searched for exchanged files
        self.notes: Counter[str] = Counter()
        self.contradictions = 0  # pictures that are there again, with another truth
        self.first_contradiction: tuple[str, str] | None = None

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
        self.failed_files.setdefault(row["error_code"], Census()).add(row["key"], 0)
        self.failed_rows.offer(
            {name: row[name] for name in ("pair_id", "key", "error_code", "error_message")}
        )
        if row["error_code"] in OTHER_SIZES:
            self.other_sizes.offer({name: row[name] for name in (*_PLACE_COLUMNS, "error_code")})
        return False

    def look_closer(self, settings: AuditSettings) -> None:
        """Find files under wrong names, once all rows are in; reads suspicious masks again."""
        self.repeated = self.repeats.found()
        self.contradictions, self.first_contradiction = self.repeats.contradictions()
        rows = [*self.low.rows(), *self.other_sizes.rows()]
        self.searched = len(rows)
        self.exchanged = find_exchanges(rows, ClassMaps(settings), len(self.labels.classes))

    def _add_ok(self, row: Row) -> Sums:
        self.ok += 1
        self.pixels += row["pixels"]
        self.ignored_pixels += row["ignored_pixels"]
        self.notes.update(note.partition(" from ")[0] for note in row["notes"] or ())
        self._add_oddities(row)
        self._add_shortlists(row)
        add_cells(self.matrix, *_columns(row["cells"], "truth", "prediction", "pixels"))
        self._add_changes(row)
        self._add_trimap(row["trimap"] or ())
        return row_to_vector(row, self.layout)

    def _add_changes(self, row: Row) -> None:
        """Classes of which this image has pixels on one side that are another on the other."""
        classes = {
            index
            for cell in row["cells"]
            if cell["truth"] != cell["prediction"] and cell["truth"] < len(self.changed_images)
            for index in (cell["truth"], cell["prediction"])
            if index < len(self.changed_images)
        }
        self.changed_images[list(classes)] += 1

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
        found: Counter[str] = Counter()
        for finding in row["findings"] or ():
            found[finding["check"]] += finding["count"]
            self.finding_rows.offer({"pair_id": row["pair_id"], "key": key, **finding})
        for check, count in found.items():
            self.findings.setdefault(check, Census()).add(key, count)
        self.alignments.add(row)
        self.num_undecided += bool(row["undecided"])
        for doubt in row["undecided"] or ():
            self.undecided.setdefault(doubt, Census()).add(key, row["pixels"])
        self.repeats.add(row)
        self._add_swaps(row)

    def _add_swaps(self, row: Row) -> None:
        """Classes that stand for each other in this one image."""
        if row["miou"] is None or row["miou"] >= LOW_AGREEMENT:
            return
        for ring in rings_that_fit(row_matrix(row, self.layout)[:-1, :-1]):
            self.swapped.setdefault(ring, Census()).add(row["key"], row["pixels"])

    def _add_shortlists(self, row: Row) -> None:
        short = {name: row[name] for name in _IMAGE_COLUMNS}
        short["classes"] = {score["index"]: score["iou"] for score in row["classes"]}
        if row["miou"] is not None:
            self.worst.offer(short)
            if row["miou"] < LOW_AGREEMENT:
                self.num_low += 1
                self.low.offer(short)
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
    """What would make the pairs agree better: turns, certain shifts, and how common each shift is.

    Every pair was tried.
    """

    def __init__(self) -> None:
        self.tried = 0
        self.turns: dict[str, Census] = {}
        self.shifts: Counter[tuple[int, int]] = Counter()
        self.examples: dict[tuple[int, int], list[str]] = {}
        self.certain: list[Row] = []  # key, shift_x, shift_y of the first
        self.num_certain = 0

    def add(self, row: Row) -> None:
        """Count one ok row."""
        self.tried += 1
        found = row["alignment"]
        if found is None:
            return
        if found["turn"]:
            self.turns.setdefault(found["turn"], Census()).add(row["key"], row["pixels"])
            return
        shift = found["shift_x"], found["shift_y"]
        if found["is_certain"]:
            self.num_certain += 1
            if len(self.certain) < KEPT_KEYS:
                self.certain.append({"key": row["key"], "x": shift[0], "y": shift[1]})
        self.shifts[shift] += 1
        kept = self.examples.setdefault(shift, [])
        if len(kept) < KEPT_EXAMPLES:
            kept.append(row["key"])


def row_matrix(row: Row, layout: TotalsLayout) -> ConfusionCounts:
    """The confusion matrix of one ok row."""
    matrix = empty_matrix(layout.num_classes)
    add_cells(matrix, *_columns(row["cells"], "truth", "prediction", "pixels"))
    return matrix


def row_to_vector(row: Row, layout: TotalsLayout) -> Sums:
    """The sums of one ok row: of its cells, boundaries and confidences."""
    vector = matrix_to_vector(row_matrix(row, layout), layout)
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
