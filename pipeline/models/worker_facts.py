"""What a worker is and can do, asked before the run starts and before anything is written."""

from dataclasses import dataclass
from pathlib import Path

from maskmill.pipeline.models.spec import ModelSpec
from maskmill.pipeline.runs.isolation import worker_name
from maskmill.schemas.errors import MaskmillError, SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerFacts:
    """Resolved on a worker, because the machine that starts a run may be another kind."""

    device: str  # cpu | cuda
    precision: str
    torch_version: str
    num_classes: int
    gpu: str | None = None  # what decides its last bits; None on a CPU
    notes: tuple[str, ...] = ()  # what the user should hear of the weights


def describe_worker(
    spec: ModelSpec,
    weights_path: Path | None,
    *,
    device: str | None,
    precision: str,
    untrained: bool,
) -> WorkerFacts | MaskmillError:
    """The facts, with the weights loaded once to see that they fit.

    ``device`` is what a run began with, or None to take the GPU that is counted here. A failure of
    ours is returned, not raised, so that it reaches the user as it is.
    """
    # Here, because whoever asks for the facts needs no torch.
    from maskmill.pipeline.models.loading import load_model, num_classes_of
    from maskmill.pipeline.models.precision import resolve_precision

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
    device = device or "cuda"
    try:
        model = load_model(spec, weights_path, untrained=untrained)
        return WorkerFacts(
            device=device,
            precision=resolve_precision(precision, device, spec.precisions),
            torch_version=torch_version(),
            num_classes=num_classes_of(model.network),
            gpu=gpu_title() if device == "cuda" else None,
            notes=model.notes,
        )
    except MaskmillError as error:
        return error


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
