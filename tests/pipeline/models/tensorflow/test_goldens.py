"""TensorFlow DeepLab's own files give TensorFlow DeepLab's own answers (see make_goldens.py)."""

from pathlib import Path

import numpy as np
import pytest
import torch

from maskmill.pipeline.labelling.picture import label_picture
from maskmill.pipeline.models.loading import load_network
from maskmill.pipeline.models.segmenter import Segmenter
from maskmill.pipeline.models.weights.imported import import_model
from maskmill.pipeline.models.weights.origins import resolve_weights
from maskmill.pipeline.models.weights.training_facts import Training
from maskmill.pipeline.views.geometry import GridView
from maskmill.pipeline.views.plan import ViewSettings, plan_views
from maskmill.pipeline.views.preparation import prepare
from maskmill.schemas.labels import LabelMap
from tests.pipeline.models.tensorflow.cases import CASES, Case
from tests.pipeline.models.tensorflow.seeded import picture
from tests.pipeline.models.tensorflow.writers import GOLDEN, write_checkpoint, write_graph
from tests.thorough import sampled

BY_NAME = {case.name: case for case in CASES}
SQUARE = [case for case in CASES if len(set(case.flags["crop_size"])) == 1]
FROM_CHECKPOINTS = [
    "mobilenetv2", "mobilenetv2_x075_os8", "mobilenetv2_plain_convolutions", "xception41_plus",
    "resnet50_beta", "resnet50_plus",
]  # fmt: skip


def names(case: Case) -> LabelMap:
    count = case.flags["num_classes"]
    return LabelMap.from_names("numbered", [f"class {index}" for index in range(count)])


def expected(case: Case) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / f"{case.name}.npz") as held:
        return dict(held)


def padded(case: Case, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    """(1, 3, crop) the case's picture as the graph pads and scales it."""
    shown = picture(*case.picture_hw)
    full = np.empty((*case.flags["crop_size"], 3))
    full[:] = mean
    full[: shown.shape[0], : shown.shape[1]] = shown
    values = (torch.from_numpy(full) - torch.tensor(mean)) / torch.tensor(std)
    return values.permute(2, 0, 1)[None].float()


def check_logits(spec, case: Case) -> None:
    pixels = padded(case, spec.preprocessing.mean, spec.preprocessing.std)
    with torch.inference_mode():
        logits = load_network(spec, resolve_weights(spec)).double()(pixels.double())
    wanted = torch.from_numpy(expected(case)["logits"]).permute(2, 0, 1)
    assert logits[0].shape == wanted.shape
    assert float((logits[0] - wanted).abs().max()) < 1e-3
    assert float(wanted.abs().max()) > 1  # or the bound would say nothing


@pytest.mark.parametrize("case", sampled(CASES, 3), ids=lambda case: case.name)
def test_a_frozen_graph_answers_as_in_tensorflow(case: Case, tmp_path: Path):
    graph = write_graph(case.name, tmp_path)
    spec = import_model(graph, name="it", labels=names(case), cache=tmp_path)
    graph.unlink()
    assert spec.output_stride == case.flags["output_stride"]
    assert spec.preprocessing.size == max(case.flags["crop_size"])
    check_logits(spec, case)
    if case in SQUARE:
        check_labels(spec, case)


def check_labels(spec, case: Case) -> None:
    """From the picture to its labels by the ways of a run."""
    shown = picture(*case.picture_hw)
    one = Segmenter(spec, resolve_weights(spec), precision="fp32")
    (answer,) = one.forward([prepare(shown, spec.preprocessing)])
    plan = plan_views(case.picture_hw, ViewSettings())
    view = GridView(answer.logits, answer.rows, answer.cols)
    found = label_picture([view], plan, case.picture_hw).mask
    assert (found == expected(case)["labels"]).mean() >= 0.999


@pytest.mark.parametrize("name", FROM_CHECKPOINTS)
def test_a_checkpoint_answers_as_in_tensorflow(name: str, tmp_path: Path):
    case, flags = BY_NAME[name], BY_NAME[name].flags
    index = write_checkpoint(name, tmp_path)
    grid = flags.get("multi_grid")
    spec = import_model(
        index,
        name="it",
        labels=names(case),
        image_size=max(flags["crop_size"]),
        cache=tmp_path,
        training=Training(
            output_stride=flags["output_stride"] if flags["output_stride"] != 16 else None,
            multi_grid=tuple(grid) if grid else None,
        ),
    )
    check_logits(spec, case)
