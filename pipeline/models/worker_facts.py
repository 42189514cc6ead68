"""What a worker is and can do, asked before the run starts and before anything is written."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from maskmill.pipeline.models.spec import ModelSpec
from maskmill.pipeline.runs.isolation import worker_name
from maskmill.pipeline.views.pictures import view_pictures
from maskmill.pipeline.views.plan import ViewSettings, plan_views
from maskmill.schemas.errors import DeviceLost, MaskmillError, SettingsError

if TYPE_CHECKING:
    from maskmill.pipeline.models.segmenter import Segmenter
    from maskmill.pipeline.views.preparation import NetworkPicture

TRIAL_HW = (480, 640)
"""Of the photograph with which facts try whether a group fits; wider ones find out themselves."""

KEEP_TO_ONE_KIND = (
    "a run keeps to one kind of GPU, as other kernels add in another order: name one with "
    "--accelerator-type"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerFacts:
    """Resolved on a worker, because the machine that starts a run may be another kind."""

    device: str  # cpu | cuda
    precision: str
    torch_version: str
    num_classes: int
    gpu: str | None = None  # what decides its last bits; None on a CPU
    driver: str = ""  # recorded, and no more
    fitting_group: int | None = None  # pictures that its memory holds at once; None on a CPU
    graphs: bool = False  # whether groups may be replayed as CUDA graphs
    worker: str = ""
    notes: tuple[str, ...] = ()  # what the user should hear of the weights


def describe_worker(
    spec: ModelSpec,
    weights_path: Path | None,
    *,
    device: str | None,
    precision: str,
    untrained: bool,
    group_size: int = 1,
    image_size: int | None = None,
    views: ViewSettings | None = None,
) -> WorkerFacts | MaskmillError:
    """The facts, with the weights loaded once to see that they fit.

    ``device`` is what a run began with, or None to take the GPU that is counted here. On a GPU the
    network runs on full groups of the largest picture that ``views`` show of a photograph:
    what cannot work there is told now. A failure of ours is returned, not raised, so that it
    reaches the user as it is.
    """
    trouble = cuda_trouble() if device != "cpu" else None
    if trouble and device == "cuda":
        return SettingsError(
            f"this run began on a GPU, and {worker_name()} has none that can be used: {trouble}; "
            "finish it on such a machine, or choose another output folder"
        )
    if trouble:
        return SettingsError(
            f"{worker_name()} counts a GPU that PyTorch cannot use: {trouble}; mend that, or label "
            "on the cores with --gpus-per-worker 0"
        )
    try:
        if device == "cpu":
            return _on_cores(spec, weights_path, precision, untrained)
        return _on_gpu(
            spec,
            weights_path,
            precision,
            untrained,
            group_size,
            _largest_picture(spec, image_size, views or ViewSettings()),
        )
    except MaskmillError as error:
        return error


def agreed_facts(found: Sequence[WorkerFacts | MaskmillError]) -> WorkerFacts:
    """What all workers said, as one: the smallest group that fits, everything else the same.

    Raises:
        MaskmillError: what a worker found wrong.
        SettingsError: workers with different kinds of GPU, or different versions.
    """
    facts = []
    for one in found:
        if isinstance(one, MaskmillError):
            raise one
        facts.append(one)
    first = facts[0]
    for other in facts[1:]:
        for name in ("gpu", "torch_version", "precision", "device"):
            here, there = getattr(first, name), getattr(other, name)
            if here != there:
                raise SettingsError(
                    f"workers differ: {here} on {first.worker}, {there} on {other.worker}; "
                    f"{KEEP_TO_ONE_KIND}"
                )
    groups = [one.fitting_group for one in facts if one.fitting_group is not None]
    drivers = ", ".join(sorted({one.driver for one in facts} - {""}))
    return replace(
        first,
        fitting_group=min(groups, default=None),
        driver=drivers,
        graphs=all(one.graphs for one in facts),
        notes=tuple(dict.fromkeys(note for one in facts for note in one.notes)),
    )


def _on_cores(
    spec: ModelSpec, weights_path: Path | None, precision: str, untrained: bool
) -> WorkerFacts:
    import torch  # here, because whoever asks for the facts needs none of it

    from maskmill.pipeline.models.loading import load_model, num_classes_of
    from maskmill.pipeline.models.precision import resolve_precision

    model = load_model(spec, weights_path, untrained=untrained)
    return WorkerFacts(
        device="cpu",
        precision=resolve_precision(precision, "cpu", spec.precisions),
        torch_version=str(torch.__version__),  # TorchVersion would import torch there
        num_classes=num_classes_of(model.network),
        worker=worker_name(),
        notes=model.notes,
    )


def _on_gpu(
    spec: ModelSpec,
    weights_path: Path | None,
    precision: str,
    untrained: bool,
    group_size: int,
    picture: "NetworkPicture",
) -> WorkerFacts:
    import torch

    from maskmill.pipeline.models.segmenter import Segmenter

    segmenter = Segmenter(
        spec,
        weights_path,
        device="cuda",
        precision=precision,
        group_size=group_size,
        untrained=untrained,
        graphs=True,
    )
    segmenter.fitting_group = _fitting_group(segmenter, picture)
    trouble = _graph_trouble(segmenter, picture)
    facts = WorkerFacts(
        device="cuda",
        precision=segmenter.precision,
        torch_version=str(torch.__version__),
        num_classes=segmenter.num_classes,
        gpu=gpu_title(),
        driver=_driver_version(),
        fitting_group=segmenter.fitting_group,
        graphs=trouble is None,
        worker=worker_name(),
        notes=(*segmenter.notes, *([f"no CUDA graphs: {trouble}"] if trouble else [])),
    )
    del segmenter
    if trouble is None:  # this process may idle for the rest of the run
        torch.cuda.empty_cache()
    return facts


def _fitting_group(segmenter: "Segmenter", picture: "NetworkPicture") -> int:
    """The size of group that memory holds, found by running the network.

    Raises:
        SettingsError: not even one picture fits, or the GPU cannot run the network at all.
    """
    import torch

    from maskmill.pipeline.models.device_failures import first_line

    try:
        size = segmenter.largest_group(picture)
    except (torch.AcceleratorError, DeviceLost) as error:
        raise SettingsError(
            f"{worker_name()} cannot run the network on its GPU, {gpu_title()}: "
            f"{first_line(error)}; mend that, or label on the cores with --gpus-per-worker 0"
        ) from error
    if size == 0:
        height, width = picture.network_hw
        raise SettingsError(
            f"{worker_name()}: the memory of its GPU does not hold one network input of "
            f"{width}x{height}; use a smaller --image-size, or a larger --gpus-per-worker"
        )
    return size


def _graph_trouble(segmenter: "Segmenter", picture: "NetworkPicture") -> str | None:
    """Why workers are to call the network anew for every group; None where replays say the same."""
    try:
        return segmenter.graph_trouble(picture)
    except DeviceLost as lost:  # to this process, and by the attempt: a worker makes none
        return str(lost)


def _largest_picture(
    spec: ModelSpec, image_size: int | None, views: ViewSettings
) -> "NetworkPicture":
    noise = np.random.default_rng(0).integers(0, 256, (*TRIAL_HW, 3), np.uint8)
    shown = view_pictures(
        noise,
        plan_views(TRIAL_HW, views),
        spec.preprocessing,
        image_size=image_size,
        alignment=spec.alignment,
    )
    return max(shown, key=lambda one: one.network_hw[0] * one.network_hw[1])


def _driver_version() -> str:
    """The newest CUDA that the driver speaks, as 13.2; empty where PyTorch does not tell."""
    import torch

    ask = getattr(torch._C, "_cuda_getDriverVersion", None)
    number = int(ask()) if ask else 0
    return f"{number // 1000}.{number % 1000 // 10}" if number else ""


def cuda_trouble() -> str | None:
    """Why PyTorch cannot use a GPU in this process; None where it can."""
    import torch

    if torch.cuda.is_available():
        return None
    if torch.version.cuda is None:
        return f"this PyTorch ({torch.__version__}) is built without CUDA"
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError) as error:
        return str(error).partition("\n")[0].strip().rstrip(".")
    return "it sees no device (is CUDA_VISIBLE_DEVICES right?)"


def torch_version() -> str:
    """Plain: a TorchVersion would import torch where it is read."""
    import torch

    return str(torch.__version__)


def gpu_title() -> str:
    """The GPU of this process and the libraries whose kernels run on it.

    Other kernels add in another order: a run keeps to one kind, as it does to one precision.
    """
    import torch

    gpu = torch.cuda.get_device_properties(0)
    cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    libraries = f"CUDA {torch.version.cuda}, cuDNN {cudnn}"
    return f"{gpu.name}, {gpu.multi_processor_count} multiprocessors, {libraries}"
