"""Scales, mirror images and windows through the three operators, without Ray."""

import hashlib

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from maskmill.pipeline.labelling.averages import View, average_probabilities, place, strips
from maskmill.pipeline.labelling.picture import label_picture
from maskmill.pipeline.labelling.upsample import sample_bilinear
from maskmill.pipeline.models.adaptation import at_output_stride
from maskmill.pipeline.models.registry import DEFAULT_MODEL, MODELS
from maskmill.pipeline.models.segmenter import Segmenter, build_network
from maskmill.pipeline.models.spec import labels_of
from maskmill.pipeline.models.weights.origins import resolve_weights
from maskmill.pipeline.prelabel.load import LoadImages
from maskmill.pipeline.prelabel.predict import PredictMasks, WorkerSettings
from maskmill.pipeline.prelabel.save import Provenance, SavePrelabels
from maskmill.pipeline.prelabel.writers.registry import outputs_of
from maskmill.pipeline.prelabel.writers.soft import read_soft
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.manifest import put_manifest
from maskmill.pipeline.views.geometry import GridView
from maskmill.pipeline.views.pictures import view_pictures
from maskmill.pipeline.views.plan import ViewSettings, plan_views
from maskmill.schemas.errors import ModelError
from maskmill.schemas.labels import LabelMap, builtin
from maskmill.schemas.tables.blocks import PENDING
from maskmill.schemas.tables.prelabel import MANIFEST
from tests.pipeline.prelabel.pointwise_network import pointwise_spec
from tests.thorough import sampled

FIVE = LabelMap.from_names("five", ["ground", "cat", "dog", "car", "tree"])
TWO = LabelMap.from_names("two", ["ground", "cat"])


@pytest.fixture
def label(tmp_path):
    """One picture through load, predict and save; its row, mask, and soft probabilities."""
    runs = 0

    def run(pixels, spec, *, weights=None, labels=None, image_size=None, threshold=None,
            min_confidence=None, **views):  # fmt: skip
        nonlocal runs
        runs += 1
        source = tmp_path / f"{hashlib.sha256(pixels.tobytes()).hexdigest()[:8]}.png"
        Image.fromarray(pixels).save(source)
        layout = RunLayout(str(tmp_path / f"out{runs}"))
        settings, labels = ViewSettings(**views), labels or labels_of(spec)
        limits = {"max_pixels": 10**8, "max_bytes": 10**9}
        load = LoadImages(
            layout=layout, session="s", preprocessing=spec.preprocessing, alignment=spec.alignment,
            image_size=image_size, views=settings, **limits,
        )  # fmt: skip
        predict = PredictMasks(
            layout=layout, session="s",
            settings=WorkerSettings(
                spec=spec, weights_path=weights, weights_sha256="", device="cpu", precision="fp32",
                threads=1, group_size=1, untrained=weights is None, flip=settings.flip,
            ),
        )  # fmt: skip
        save = SavePrelabels(
            layout=layout, session="s", labels=labels, views=settings, threshold=threshold,
            provenance=Provenance(
                model="m", weights_sha256="", settings_fingerprint="", tool_version=""
            ),
            segments_per="class", min_confidence=min_confidence, min_area=0,
            outputs=outputs_of(["masks", "soft"], {}), **limits,
        )  # fmt: skip
        image = {"image_id": 1, "key": "a.png", "uri": str(source), "block": 0, "output": "a"}
        put_manifest(layout, pa.Table.from_pylist([image], schema=MANIFEST))
        pending = pa.Table.from_pylist([{"block": 0, "items": 1}], schema=PENDING)
        (row,) = save(predict(load(pending))).to_pylist()
        if row["status"] == "failed":
            return row, None, None
        root = tmp_path / f"out{runs}"
        mask = np.asarray(Image.open(root / "masks/a.png"))
        (_, soft) = read_soft((root / "soft/a.npz").read_bytes())
        assert len(soft) == 1  # however many views there were
        return row, mask, soft[0]

    return run


@pytest.fixture(scope="module")
def photograph(shared):
    return np.asarray(Image.open(shared / "data/voc/2011_000006.jpg"))


@pytest.fixture(scope="module")
def default_model():
    spec = MODELS[DEFAULT_MODEL]
    try:
        return spec, resolve_weights(spec)
    except ModelError as error:
        pytest.skip(f"the default model cannot be fetched: {error}")


def dense(soft, classes):
    full = np.zeros((classes, *soft.probabilities.shape[1:]), np.float32)
    full[soft.classes] = soft.probabilities
    return full


def differing(mask, other, soft, classes):
    """Where labels differ although the two highest probabilities are not all but equal."""
    top = np.sort(dense(soft, classes), axis=0)
    return (mask != other) & (top[-1] - top[-2] > 2 / 255)


@pytest.mark.parametrize(
    "views",
    sampled(
        [
            {"window": 97, "overlap": 0.25},
            {"window": 128, "overlap": 0.0, "flip": True},
            {"window": 300, "overlap": 0.6},
            {"flip": True},
        ],
        3,
    ),
    ids=str,
)
def test_a_pointwise_network_gives_the_same_in_windows_and_mirrored(label, photograph, views):
    spec = pointwise_spec(FIVE)
    whole_row, whole, whole_soft = label(photograph, spec)
    row, mask, soft = label(photograph, spec, **views)
    assert len(np.unique(whole)) >= 3
    assert soft.probabilities.shape[1:] == whole.shape
    np.testing.assert_allclose(dense(soft, 5), dense(whole_soft, 5), atol=1.01 / 255)
    assert not differing(mask, whole, whole_soft, 5).any()
    assert (mask != whole).mean() < 1e-4
    for name in ("mean_confidence", "mean_entropy", "mean_margin"):
        assert row[name] == pytest.approx(whole_row[name], abs=1e-5)
    noted = [note for note in row["notes"] or [] if "windows" in note]
    assert len(noted) == ("window" in views)


def test_windows_leave_no_seam_in_the_probabilities(label, photograph):
    """What crosses a window's border changes no more there than elsewhere, to 1e-5."""
    spec, size = pointwise_spec(FIVE), photograph.shape[:2]
    segmenter = Segmenter(spec, None, untrained=True, precision="fp32")
    found = {}
    for window in (0, 90):
        plan = plan_views(size, ViewSettings(window=window))
        pictures = view_pictures(
            photograph, plan, spec.preprocessing, image_size=None, alignment=spec.alignment
        )
        answers = segmenter.forward(list(pictures))
        views = [
            View(torch.softmax(torch.from_numpy(a.logits), 0).numpy(), a.rows, a.cols, w)
            for a, w in zip(answers, plan.view_windows(), strict=True)
        ]
        columns = np.arange(size[1])
        found[window] = np.concatenate([
            average_probabilities(part.views, np.arange(part.top, part.bottom), columns)[0]
            for part in strips((place(view, size) for view in views), size[0])
        ], axis=1)  # fmt: skip
        assert len(views) == (1 if window == 0 else 6 * 8)
        assert label_picture(answers_of(answers), plan, size).mask.shape == size
    np.testing.assert_allclose(found[90], found[0], atol=1e-5)


def answers_of(results):
    return [GridView(result.logits, result.rows, result.cols) for result in results]


def test_min_confidence_ignores_the_same_pixels_in_windows(label, photograph):
    spec = pointwise_spec(FIVE)
    _, whole, _ = label(photograph, spec, min_confidence=0.7)
    _, mask, _ = label(photograph, spec, min_confidence=0.7, window=120)
    assert 0.01 < (whole == 255).mean() < 0.99
    # The confidence of an average lies on a lattice of pixels: for this network, on all of them.
    assert ((mask == 255) != (whole == 255)).mean() < 1e-3


@pytest.mark.parametrize("views", [{}, {"window": 150}, {"flip": True}], ids=str)
@pytest.mark.parametrize("threshold", [None, 0.2, 0.9])
def test_a_sigmoid_head_says_class_one_above_the_threshold(
    label, photograph, tmp_path, threshold, views
):
    spec = pointwise_spec(TWO)
    weights = tmp_path / "one.safetensors"
    network = build_network(spec, 1)
    with torch.no_grad():  # red against the rest: both classes occur at every threshold
        network.classifier.weight.copy_(torch.tensor([6.0, -3.0, -2.0]).view(1, 3, 1, 1))
        network.classifier.bias.fill_(-0.5)
    save_file(network.state_dict(), weights)
    row, mask, soft = label(photograph, spec, weights=weights, threshold=threshold, **views)
    rule = spec.preprocessing
    pixels = (torch.tensor(photograph) - torch.tensor(rule.mean)) / torch.tensor(rule.std)
    with torch.inference_mode():
        probability = torch.sigmoid(network(pixels.permute(2, 0, 1)[None]))[0, 0].numpy()
    expected, limit = probability > (threshold or 0.5), threshold or 0.5
    unsure = np.abs(probability - limit) < 1e-5
    assert 0.02 < expected.mean() < 0.98
    assert np.array_equal(mask[~unsure] == 1, expected[~unsure])
    np.testing.assert_allclose(dense(soft, 2)[1], probability, atol=1.01 / 510)
    shares = {entry["name"]: entry["fraction"] for entry in row["classes"]}
    assert shares["cat"] == pytest.approx((mask == 1).mean())


@pytest.mark.parametrize("views", [{}, {"window": 150}], ids=str)
def test_a_threshold_between_two_softmax_classes(label, photograph, views):
    spec = pointwise_spec(TWO)
    _, half, soft = label(photograph, spec, **views)
    _, mask, _ = label(photograph, spec, threshold=0.8, **views)
    probability = dense(soft, 2)[1]
    clear = np.abs(probability - 0.8) > 1 / 255
    assert np.array_equal(mask[clear] == 1, probability[clear] > 0.8)
    assert (mask == 1).sum() < (half == 1).sum()


def test_each_window_is_seen_as_a_picture_of_its_own(label, default_model, photograph):
    """Six square photographs in a sheet, in windows of their size, are labelled as each alone."""
    spec, weights = default_model
    tiles = [photograph[y : y + 180, x : x + 180] for y in (0, 190) for x in (0, 120, 310)]
    sheet = np.concatenate([np.concatenate(tiles[row : row + 3], 1) for row in (0, 3)])
    settings = {"weights": weights, "image_size": 257}
    row, mask, _ = label(sheet, spec, window=180, overlap=0.0, **settings)
    alone = [label(np.ascontiguousarray(tile), spec, **settings)[1] for tile in tiles]
    expected = np.concatenate([np.concatenate(alone[at : at + 3], 1) for at in (0, 3)])
    assert len(np.unique(expected)) > 1
    assert row["notes"] == ["seen in 6 windows of 180x180 pixels"]
    # Alone, logits are interpolated; in windows, probabilities: outlines move by a fraction.
    assert (mask == expected).mean() > 0.985


def test_mirroring_makes_labels_independent_of_left_and_right(label, default_model, photograph):
    """With the mirror image averaged in, a mirrored picture has mirrored labels."""
    spec, weights = default_model
    # 257 columns of picture for 257 of input: the grid of either direction is the same.
    square = np.ascontiguousarray(photograph[:257, 100:357])
    turned = np.ascontiguousarray(square[:, ::-1])
    agreement = {}
    for flip in (False, True):
        masks = [
            label(pixels, spec, weights=weights, image_size=257, flip=flip)[1]
            for pixels in (square, turned)
        ]
        agreement[flip] = (masks[0] == masks[1][:, ::-1]).mean()
    assert agreement[True] > 0.9999 > agreement[False]


def test_one_scale_is_the_plain_way_at_another_size(label, default_model, photograph):
    spec, weights = default_model
    row, _, _ = label(photograph, spec, weights=weights, image_size=257)
    half_row, _, soft = label(photograph, spec, weights=weights, image_size=513, scales=(0.5,))
    assert half_row["mask_sha256"] == row["mask_sha256"]  # 513 at half scale is 257
    assert half_row["mean_entropy"] == row["mean_entropy"]
    assert soft.probabilities.shape[2] == 33


def test_scales_are_averaged_as_probabilities(label, default_model, photograph):
    """At every point of the written grid: the mean of what each scale says by itself there."""
    spec, weights = default_model
    scales, height, width = (0.5, 1.0, 1.5), *photograph.shape[:2]
    settings = {"weights": weights, "image_size": 257}
    _, mask, soft = label(photograph, spec, scales=scales, **settings)
    total = np.zeros((21, height, width))
    for scale in scales:
        _, _, one = label(photograph, spec, scales=(scale,), **settings)
        total += [sample_bilinear(p, one.rows, one.cols, (height, width)) for p in dense(one, 21)]
    ys, xs = (  # the pixels that lie on the points of the grid
        np.rint((np.arange(count) - axis.offset) / axis.scale).astype(int)
        for axis, count in zip((soft.rows, soft.cols), soft.probabilities.shape[1:], strict=True)
    )
    assert (ys[-1] < height, xs[-1] < width) == (True, True)
    points = total[:, ys[:, None], xs] / 3
    np.testing.assert_allclose(dense(soft, 21), points, atol=1.5 / 255)
    clear = np.sort(total, axis=0)[-1] - np.sort(total, axis=0)[-2] > 0.05
    assert np.array_equal(mask[clear], total.argmax(axis=0)[clear])


def test_an_output_stride_keeps_the_weights_and_halves_the_grid(label, default_model, photograph):
    spec, weights = default_model
    coarse = at_output_stride(spec, 16)
    _, mask, soft = label(photograph, coarse, weights=weights, image_size=257)
    _, fine, fine_soft = label(photograph, spec, weights=weights, image_size=257)
    assert fine_soft.probabilities.shape[2] == 33 and soft.probabilities.shape[2] == 17
    assert (mask == fine).mean() > 0.8
    assert np.any(mask == 15) and builtin("voc").names[15] == "person"


def test_more_memory_than_there_is_stays_a_failed_row(label, photograph, monkeypatch):
    def refuse(*_):
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr(Segmenter, "_logits", refuse)
    row, _, _ = label(photograph, pointwise_spec(FIVE), window=120, flip=True)
    assert (row["status"], row["error_code"]) == ("failed", "out_of_memory")
