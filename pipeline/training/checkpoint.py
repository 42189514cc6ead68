"""Checkpoints: all that a training needs to go on, in one file that appears whole or not at all."""

import io
import re
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import pyarrow as pa
import torch
from pyarrow import fs
from torch import Tensor

from maskmill.pipeline.runs.layout import RunLayout
from maskmill.schemas.errors import RunFailed
from maskmill.schemas.tables.finetune import STEPS, VALIDATION

LAST: Final = "checkpoints/last.pt"
KEPT: Final = "checkpoints/kept-{:09d}.pt"
STEP_ROWS: Final = "rows/steps/steps-{:09d}.parquet"
VALIDATION_ROWS: Final = "rows/validation/epoch-{:06d}.parquet"

State = dict[str, Any]


@dataclass(slots=True, kw_only=True)
class Progress:
    """Where a training stands. ``step`` steps are done; rows on disk are of these and no others.

    ``history`` has an entry per validation: epoch, step, loss, value of the monitored metric, mIoU
    and the IoU of each class. ``best`` is one of them, ``kept`` the one whose weights are kept, see
    :mod:`kept_epoch`. ``loss_sum`` is over the steps of the
    epoch that is under way. ``ended`` says why there will be no further step; '' while there will.
    """

    step: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] | None = None
    kept: dict[str, Any] | None = None
    loss_sum: float = 0.0
    loss_steps: int = 0
    ended: str = ""

    @property
    def stale_epochs(self) -> int:
        """Validations since the best one."""
        if self.best is None:
            return 0
        return int(self.history[-1]["epoch"]) - int(self.best["epoch"])


def save_checkpoint(
    layout: RunLayout, fingerprint: str, progress: Progress, tensors: State
) -> None:
    """Put the checkpoint in place of the one before."""
    document = {"fingerprint": fingerprint, "progress": asdict(progress), **tensors}
    layout.write(LAST, _packed(document))


def load_checkpoint(layout: RunLayout, fingerprint: str) -> tuple[Progress, State] | None:
    """Where the training stood, and its tensors on the CPU; None where it has not begun.

    Raises:
        RunFailed: a checkpoint that cannot be read, or of another run.
    """
    try:
        data = layout.read(LAST)
    except FileNotFoundError:
        return None
    remedy = f"remove {layout.path(LAST)} to begin with the first step, or choose another folder"
    try:
        document = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        theirs, progress = document.pop("fingerprint"), Progress(**document.pop("progress"))
    except Exception as error:  # torch has no one class for what is torn
        reason = str(error).partition("\n")[0]
        raise RunFailed(f"{layout.path(LAST)} is no checkpoint ({reason}); {remedy}") from error
    if theirs != fingerprint:
        raise RunFailed(f"{layout.path(LAST)} is of another run; {remedy}")
    return progress, document


def save_kept(layout: RunLayout, step: int, state: dict[str, Tensor]) -> None:
    """The weights that would be the result now; a checkpoint that names them comes after."""
    layout.write(KEPT.format(step), _packed({name: value.cpu() for name, value in state.items()}))


def load_kept(layout: RunLayout, step: int) -> dict[str, Tensor]:
    """The weights that :func:`save_kept` kept."""
    data = io.BytesIO(layout.read(KEPT.format(step)))
    state: dict[str, Tensor] = torch.load(data, map_location="cpu", weights_only=True)
    return state


def drop_stale(layout: RunLayout, progress: Progress) -> None:
    """Remove what lies beyond a checkpoint, or was kept before it: nothing stands twice."""
    kept = progress.kept["step"] if progress.kept else None
    epochs = {int(one["epoch"]) for one in progress.history}
    _drop(layout, STEP_ROWS, lambda first: first > progress.step)
    _drop(layout, VALIDATION_ROWS, lambda epoch: epoch not in epochs)
    _drop(layout, KEPT, lambda step: step != kept)


def write_steps(layout: RunLayout, rows: list[dict[str, Any]]) -> None:
    """Rows of consecutive steps, before the checkpoint that they lead to."""
    if rows:
        table = pa.Table.from_pylist(rows, schema=STEPS)
        layout.write_table(STEP_ROWS.format(rows[0]["step"]), table)


def write_validation(layout: RunLayout, epoch: int, rows: list[dict[str, Any]]) -> None:
    """Rows of one validation, before the checkpoint that knows of it."""
    table = pa.Table.from_pylist(rows, schema=VALIDATION)
    layout.write_table(VALIDATION_ROWS.format(epoch), table)


def step_rows(layout: RunLayout) -> pa.Table:
    """All rows of STEPS, in order."""
    tables = [layout.read_table(STEP_ROWS.format(one)) for one in _numbers(layout, STEP_ROWS)]
    return pa.concat_tables([STEPS.empty_table(), *(one.cast(STEPS) for one in tables)])


def validation_rows(layout: RunLayout, epoch: int) -> pa.Table:
    """The rows of VALIDATION of one epoch, in image_id order."""
    return layout.read_table(VALIDATION_ROWS.format(epoch)).cast(VALIDATION)


def _drop(layout: RunLayout, pattern: str, is_stale: Any) -> None:
    for number in _numbers(layout, pattern):
        if is_stale(number):
            layout.delete(pattern.format(number))


def _numbers(layout: RunLayout, pattern: str) -> list[int]:
    """The numbers of the files of a pattern, ascending."""
    folder, _, name = pattern.rpartition("/")
    wanted = re.compile(
        re.escape(name[: name.index("{")]) + r"(\d+)" + re.escape(name[name.index("}") + 1 :])
    )
    selector = fs.FileSelector(layout.path(folder), allow_not_found=True)
    names = (info.base_name for info in layout.filesystem.get_file_info(selector))
    return sorted(int(found[1]) for found in map(wanted.fullmatch, names) if found)


def _packed(document: State) -> memoryview:
    stream = io.BytesIO()
    torch.save(document, stream)
    return stream.getbuffer()
