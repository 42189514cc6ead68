"""What one wants to know about a model before using it: the facts of `models info`."""

from pathlib import Path
from typing import Any

from maskmill.pipeline.models.spec import ModelSpec, labels_of
from maskmill.pipeline.models.weights.origins import cached_path

NO_WEIGHTS = "none: give yours with --weights FILE and --labels FILE, or try it with --untrained"


def describe(spec: ModelSpec, *, cache: Path | None = None) -> dict[str, Any]:
    """Name -> value, in the order worth reading; plain JSON values.

    ``parameters`` are counted on a network without memory behind it (which imports torch).
    """
    labels = labels_of(spec)
    origin = spec.weights
    return {
        "name": spec.name,
        "description": spec.description,
        "architecture": spec.architecture,
        "parameters": parameters_of(spec),
        "output_stride": spec.output_stride,
        "grid_stride": spec.grid_stride,
        "input": spec.preprocessing.describe(),
        "normalisation": f"(x - {spec.preprocessing.mean}) / {spec.preprocessing.std}",
        "precisions": list(spec.precisions),
        "labels": labels.name,
        "classes": list(labels.names),
        "trained": spec.trained,
        "origin": origin.describe() if origin else NO_WEIGHTS,
        "licence": origin.licence if origin else "that of the weights you bring",
        "sha256": origin.digest if origin else "",
        "weights": weights_state(spec, cache),
    }


def weights_state(spec: ModelSpec, cache: Path | None = None) -> str:
    """Whether the weights are here, and if not, who brings them."""
    if cached_path(spec, cache).is_file():
        return "here"
    if spec.fetched:
        return "to fetch"
    return "bring the file" if spec.trained else "untrained"


def parameters_of(spec: ModelSpec) -> int:
    """Numbers that training would change; buffers are not among them."""
    import torch

    from maskmill.pipeline.models.cost import count_parameters
    from maskmill.pipeline.models.segmenter import build_network

    with torch.device("meta"):
        return count_parameters(build_network(spec, len(labels_of(spec).classes)))
