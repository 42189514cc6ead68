"""What a worker is and can do, asked before the run starts and before anything is written."""

from dataclasses import dataclass
from pathlib import Path

from maskmill.pipeline.models.spec import ModelSpec
from maskmill.schemas.errors import MaskmillError, SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerFacts:
    """Resolved on a worker, because the machine that starts a run may be another kind."""

    device: str  # cpu | cuda
    precision: str
    torch_version: str
    num_classes: int
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

    ``device`` is what a run began with, or None to take the best there is. A failure of ours is
    returned, not raised, so that it reaches the user as it is.
    """
    import torch  # here, because whoever asks for the facts needs none of it

    from maskmill.pipeline.models.loading import load_model, num_classes_of
    from maskmill.pipeline.models.precision import resolve_precision

    has_gpu = torch.cuda.is_available()
    if device == "cuda" and not has_gpu:
        return SettingsError(
            "this run began on a GPU, and there is none here: finish it on such a machine, or "
            "choose another output folder"
        )
    device = device or ("cuda" if has_gpu else "cpu")
    try:
        model = load_model(spec, weights_path, untrained=untrained)
        return WorkerFacts(
            device=device,
            precision=resolve_precision(precision, device, spec.precisions),
            torch_version=str(torch.__version__),  # TorchVersion would import torch there
            num_classes=num_classes_of(model.network),
            notes=model.notes,
        )
    except MaskmillError as error:
        return error
