"""Events for TensorBoard: the figures of steps and validations, where it looks for them.

Each start writes OUT/tensorboard anew, from the rows so far and then as they come: whatever was
killed, every step stands there once, and a run that is finished can still be given its events.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.training.checkpoint import Progress, step_rows
from maskmill.pipeline.training.task import TrainingTask
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.labels import LabelMap

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

EVENTS: Final = "tensorboard"
OF_STEPS: Final = ("loss", "rate", "gradient_norm", "wait_ms", "step_ms")
Tell = Callable[[dict[str, Any]], None]
"""Called after every step and validation with what people want to see of it."""


def check_events(layout: RunLayout) -> None:
    """Refuse before the first step what could not be written.

    Raises:
        SettingsError: TensorBoard is not installed, or OUT is no folder of this machine.
    """
    if find_spec("tensorboard") is None:
        raise SettingsError(
            "--write tensorboard needs a package: pip install 'maskmill[tensorboard]'"
        )
    if not layout.is_local:
        raise SettingsError(
            f"--write tensorboard: {layout.root} is no folder of this machine, and events are "
            "written as a file grows; leave it out, or train into a folder"
        )


@contextmanager
def telling(task: TrainingTask, progress: Progress, rank: int, tell: Tell) -> Iterator[Tell]:
    """``tell``, which also writes events where they are asked for, those of all before it first.

    Only the worker of ``rank`` 0 writes.
    """
    if rank or EVENTS not in task.recipe.write:
        yield tell
        return
    from torch.utils.tensorboard import SummaryWriter

    layout, labels = task.layout, task.labels
    folder = layout.local(EVENTS)
    shutil.rmtree(folder, ignore_errors=True)
    with SummaryWriter(str(folder)) as writer:
        for row in [*step_rows(layout).to_pylist(), *progress.history]:
            _write(writer, labels, row)

        def told(row: dict[str, Any]) -> None:
            _write(writer, labels, row)
            tell(row)

        yield told


def _write(writer: "SummaryWriter", labels: LabelMap, row: dict[str, Any]) -> None:
    """A row of STEPS, or an entry of :attr:`Progress.history`."""
    if "miou" in row:
        figures = {"validation/miou": row["miou"], "validation/monitor": row["monitor"]}
        named = zip(labels.names, row["iou"], strict=True)
        figures |= {f"validation/iou/{name}": value for name, value in named}
    else:
        figures = {f"step/{name}": row[name] for name in OF_STEPS}
    for tag, value in figures.items():
        if value is not None:
            writer.add_scalar(tag, value, row["step"])
