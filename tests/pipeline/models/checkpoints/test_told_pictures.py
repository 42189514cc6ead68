"""How a project's configuration has pictures prepared, read from plain text beside the weights."""

import json
import lzma
from pathlib import Path

import pytest
import torch

from maskmill.pipeline.models.choice import choose_model
from maskmill.pipeline.models.loading import load_model
from maskmill.pipeline.models.weights.beside import told_beside
from maskmill.pipeline.models.weights.layout_rules import AS_IS
from maskmill.pipeline.views.preparation import resized_hw
from maskmill.pipeline.views.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from maskmill.schemas.errors import ModelError
from tests.golden.checkpoints.seeded import seeded_state

FOLDER = Path(__file__).parents[3] / "golden" / "checkpoints"
BGR = """
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor', mean=[103.5, 116.3, 123.7], std=[57.4, 57.1, 58.4],
        bgr_to_rgb=False),
    backbone=dict(type='ResNetV1c', strides=(1, 2, 1, 1), style='pytorch'),
    decode_head=dict(dilations=(1, 12, 24, 36), align_corners=False),
    test_cfg=dict(mode='slide', crop_size=(769, 769), stride=(513, 513)))
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(2048, 512), keep_ratio=True)]
"""
OLD = """
img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
test_pipeline = [dict(type='MultiScaleFlipAug', img_scale=(2048, 1024), flip=False, transforms=[
    dict(type='Resize', keep_ratio=True), dict(type='Normalize')])]
"""


def golden(name):
    return json.loads(lzma.decompress((FOLDER / f"{name}.json.xz").read_bytes()))


def pictures(text):
    return told_beside({"meta": {"cfg": text}}).pictures


@pytest.fixture(scope="module")
def bgr(tmp_path_factory):
    path = tmp_path_factory.mktemp("mmseg") / "iter_40000.pth"
    state = seeded_state(golden("mmseg-v3plus_r18-d8")["keys"])
    torch.save({"meta": {"cfg": BGR}, "state_dict": state}, path)
    return path


def test_mmsegmentations_mean_order_and_size_are_those_of_its_configuration(bgr):
    choice = choose_model(None, str(bgr))
    rule = choice.spec.preprocessing
    assert (rule.mean, rule.std) == ((123.7, 116.3, 103.5), (58.4, 57.1, 57.4))  # in RGB
    assert (rule.resize, rule.size, rule.limit) == ("shortest_side", 512, 2048)
    assert choice.spec.sees_bgr
    said = " ".join(choice.notes)
    assert "as meta tells: shortest side scaled to 512, longest side to 2048 at most" in said
    assert "as BGR" in said and "windows of 769x769" in said


def test_a_network_that_sees_bgr_is_turned_when_it_is_loaded(bgr, tmp_path):
    plain = tmp_path / "plain.pth"
    torch.save({"state_dict": torch.load(bgr)["state_dict"]}, plain)
    picture = torch.linspace(-2, 2, 3 * 33 * 65).sin().view(1, 3, 33, 65)

    def answer(path, seen):
        choice = choose_model(None, str(path), output_stride=8)
        with torch.inference_mode():
            return load_model(choice.spec, choice.weights_path).network.double()(seen.double())

    turned = answer(bgr, picture)
    torch.testing.assert_close(turned, answer(plain, picture.flip(1)))
    assert (turned - answer(plain, picture)).abs().max() > 1e-3 * turned.std()


def test_both_generations_of_mmsegmentation_are_read():
    old = pictures(OLD)
    assert (old.mean, old.bgr, old.short, old.long) == (IMAGENET_MEAN, False, 1024, 2048)
    real = pictures(golden("mmseg-v3_r50-d8")["cfg"])
    assert (real.mean, real.std, real.bgr) == (IMAGENET_MEAN, IMAGENET_STD, False)
    assert (real.short, real.long) == (1024, 2048)
    unnormalised = pictures("model = dict(data_preprocessor=dict(type='SegDataPreProcessor'))")
    assert unnormalised.rule(AS_IS).mean == (0.0, 0.0, 0.0)
    assert unnormalised.bgr


@pytest.mark.parametrize(
    "text",
    [
        "img_norm_cfg = dict(mean=[1, 2], std=[1, 1, 1], to_rgb=True)",
        "img_norm_cfg = dict(mean=['a', 2, 3], std=[1, 1, 1])",
        "img_norm_cfg = dict(mean=[1, 2, 3], std=[0, 1, 1])",
        "img_norm_cfg = dict(mean=[1, 2, 1e999], std=[1, 1, 1])",
        "img_norm_cfg = dict(mean=open('x'), std=[1, 1, 1])",
    ],
)
def test_what_is_no_mean_and_deviation_changes_nothing(text):
    told = pictures(text)
    assert told is None or told.rule(AS_IS) == AS_IS


def test_squeezed_pictures_that_are_no_square_are_said():
    text = "test_pipeline = [dict(type='Resize', scale=(1024, 512), keep_ratio=False)]"
    assert "1024x512" in pictures(text).remark
    square = "test_pipeline = [dict(type='Resize', scale=(512, 512), keep_ratio=False)]"
    assert pictures(square).rule(AS_IS).describe() == "scaled to 512x512"


@pytest.mark.parametrize(
    ("size_hw", "expected"),
    [((1024, 2048), (1024, 2048)), ((500, 333), (1538, 1024)), ((300, 1000), (614, 2048))],
)
def test_the_limited_rule_meets_whichever_side_comes_first(size_hw, expected):
    rule = Preprocessing(resize="shortest_side", size=1024, limit=2048)
    assert resized_hw(size_hw, rule) == expected
    assert resized_hw(size_hw, rule.sized(64))[0 if size_hw[0] < size_hw[1] else 1] == 64


def test_the_mean_that_detectron2_kept_among_weights_is_taken_and_its_order_named(tmp_path):
    state = seeded_state(golden("detectron2-v3plus_r50_os8_basic")["keys"])
    mean = torch.tensor([103.53, 116.28, 123.675]).view(3, 1, 1)
    path = tmp_path / "model_final.pth"
    torch.save({"model": {**state, "pixel_mean": mean, "pixel_std": torch.ones(3, 1, 1)}}, path)
    choice = choose_model(None, str(path))
    rule = choice.spec.preprocessing
    assert (rule.mean, rule.std) == (IMAGENET_MEAN, (1.0, 1.0, 1.0))
    assert choice.spec.sees_bgr
    assert any("blue, green, red" in note for note in choice.notes)
    assert dict(choice.spec.options)["pool_window"] == (32, 64)
    assert any("pool_window=0,0" in note for note in choice.notes)


def test_a_run_of_detectron2_is_as_the_configuration_beside_it_says(tmp_path):
    case = golden("detectron2-v3plus_r103_crop")
    (tmp_path / "config.yaml").write_text(case["yaml"])
    told = told_beside({}, tmp_path / "model_final.pth")
    assert (told.output_stride, told.rates, told.last_rates) == (16, (6, 12, 18), (2, 4, 8))
    assert (told.pool_window, told.strides_first) == ((2, 4), False)
    assert (told.pictures.short, told.pictures.long, told.pictures.bgr) == (1024, 2048, False)
    whole = case["yaml"].replace("    ENABLED: true", "    ENABLED: false")
    (tmp_path / "config.yaml").write_text(whole)
    assert told_beside({}, tmp_path / "model_final.pth").pool_window == (0, 0)


def test_strides_on_the_first_1x1_are_refused_where_they_are_not_known(tmp_path):
    state = seeded_state(golden("mmseg-v3_r50b-d8")["keys"])
    cfg = BGR.replace("style='pytorch'", "style='caffe'")
    torch.save({"meta": {"cfg": cfg}, "state_dict": state}, tmp_path / "iter.pth")
    with pytest.raises(ModelError, match="strides on the first 1x1"):
        choose_model(None, str(tmp_path / "iter.pth"))
