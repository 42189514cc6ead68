"""Other projects' checkpoints, through the choice a command makes: the same answers to 1e-6.

In float64, so that a wrong network is all that can differ: float32 alone moves logits of random
networks by up to 4e-3 of their spread, and not by the same on every processor.
"""

import json
import lzma
import re
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch.nn import functional

from maskmill.jobs.cli import main
from maskmill.pipeline.models.choice import choose_model
from maskmill.pipeline.models.loading import load_model
from maskmill.pipeline.models.weights.foreign_state import renamed_state
from maskmill.pipeline.models.weights.state import fill_network
from tests.golden.checkpoints.seeded import sampled_points, seeded_picture, seeded_state

FOLDER = Path(__file__).parents[3] / "golden" / "checkpoints"
TWINS = {
    "smp-v3plus_timm-mobilenetv3_large_100": ("encoder=tf_mobilenetv3_large",),
    "smp-v3plus_tu-mobilenetv3_large_100": ("encoder=mobilenetv3_large",),
}
QUICK = (
    "smp-v3plus_resnet18_rates", "smp-v3plus_mobilenet_v2", "smp-v3plus_efficientnet-b2",
    "smp-v3plus_se_resnet50", "smp-v3_efficientnet-b0", "vainf-deeplabv3plus_mobilenet_os16",
    "mmseg-v3plus_r18b-d8", "mmseg-v3plus_m-v2-d8", "mmseg-v3_r18-d8",
    "torchvision-mobilenet_v3_large", "jfzhang-mobilenet_os16", "jfzhang-drn_os8",
    "bubbliiiing-mobilenet_os8", "huggingface-mobilenet_v2_0.5",
    "smp-v3plus_timm-mobilenetv3_large_100", "chenxi-resnet50_gn16",
)  # fmt: skip
NAMES = sorted(path.name.removesuffix(".json.xz") for path in FOLDER.glob("*-*.json.xz"))
CASES = [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.thorough) for name in NAMES
]


def golden(name):
    return json.loads(lzma.decompress((FOLDER / f"{name}.json.xz").read_bytes()))


def saved(case, folder):
    """The file as the project's own training loop writes it; see the table in docs/models.md."""
    state = seeded_state(case["keys"])
    project = case["project"]
    path = folder / "best.pth"
    if project == "vainf":
        torch.save({"cur_itrs": 300, "model_state": state, "best_score": 0.7}, path)
    elif project == "jfzhang":
        torch.save({"epoch": 3, "state_dict": state, "optimizer": {}, "best_pred": 0.5}, path)
    elif project == "mmseg":
        torch.save({"meta": {"cfg": case["cfg"]}, "state_dict": state, "optimizer": {}}, path)
    elif project == "torchvision":
        torch.save({"model": state, "optimizer": {}, "epoch": 2}, path)
    elif project == "smp":
        lightning = {f"model.{key}": value for key, value in state.items()}
        extra = {"mean": torch.zeros(1, 3, 1, 1), "loss_fn.weight": torch.ones(5)}
        torch.save({"state_dict": {**lightning, **extra}, "epoch": 4}, path)
    elif project == "yudewang":
        torch.save({f"module.{key}": value for key, value in state.items()}, path)
    elif project == "detectron2":
        path = folder / "model_final.pth"
        torch.save({"model": state, "iteration": 89999, "optimizer": {}}, path)
        (folder / "config.yaml").write_text(case["yaml"])
    elif project == "chenxi":
        state = {f"module.{key}": value for key, value in state.items()}
        torch.save({"epoch": 50, "state_dict": state, "optimizer": {}}, path)
    elif project == "huggingface":
        from safetensors.torch import save_file

        path = folder / "model.safetensors"
        save_file(state, path)
        (folder / "config.json").write_text(json.dumps(case["config"]))
    else:
        torch.save(state, path)
    return path


@pytest.mark.parametrize("name", CASES)
@torch.inference_mode()
def test_a_projects_checkpoint_answers_as_its_own_code(tmp_path, name):
    case = golden(name)
    options = (*TWINS.get(name, ()), *case.get("options", ()))
    choice = choose_model(
        None,
        str(saved(case, tmp_path)),
        output_stride=case.get("output_stride"),
        network_options=options,
    )
    model = load_model(choice.spec, choice.weights_path)
    size = tuple(case["size"])
    align = choice.spec.alignment == "align_corners"
    picture = seeded_picture(*size).double()
    if choice.spec.sees_bgr:  # and networks here see RGB
        picture = picture.flip(1)
    network = model.network.double()
    if case["project"] == "huggingface" or choice.spec.weight_std:
        # Its weights are worked over when they are loaded, which float32 rounds anew.
        exact = {key: value.double() for key, value in seeded_state(case["keys"]).items()}
        layout, standardised = choice.spec.layout, choice.spec.weight_std
        fill_network(network, renamed_state(layout, exact, weight_std=standardised)[0])
    logits = network(picture)
    logits = functional.interpolate(logits, size, mode="bilinear", align_corners=align)[0]
    rows, cols = sampled_points(*size)
    found, expected = (
        logits[:, rows][:, :, cols].flatten(),
        torch.tensor(case["logits"], dtype=torch.float64),
    )
    assert expected.std() > 0
    # They pass through some hundred layers of random weights: the scale is theirs.
    spread = float(expected.std())
    torch.testing.assert_close(found, expected, atol=1e-6 * spread, rtol=0)
    classes = len(case["logits"]) // (len(rows) * len(cols))
    assert len(choice.labels.classes) == classes > 1
    assert any(f"{classes} classes" in note for note in choice.notes)


ALWAYS_PLUS = ("bubbliiiing", "hualin", "jfzhang", "yudewang")
"""Projects that have DeepLabv3+ alone, and do not name their files by it."""

ENCODERS = {
    "mobilenetv3_large|mobilenet_v3_large": "MobileNetV3-Large",
    "mobilenet|m-v2": "MobileNetV2",
    "hrnetv2_32": "HRNetV2-W32",
    "hrnetv2_48": "HRNetV2-W48",
    "efficientnet-b": "EfficientNet-b",
    "xception65": "Xception65",
    "xception": "Xception",
    "drn": "DRN-D-54",
    "se_resnet50": "SE-ResNet-50",
    "resnext50_32x4d": "ResNeXt-50 32x4d",
    "resnet152": "ResNet-152",
    "resnet18|r18": "ResNet-18",
    "resnet34": "ResNet-34",
    "resnet50|res50|r50|r53": "ResNet-50",
    "resnet101|res101|r101|r103|kazuto|jfzhang-resnet": "ResNet-101",
}
SAVERS = {
    "chenxi": "chenxi116",
    "huggingface": "Hugging Face",
    "mmseg": "mmsegmentation",
    "smp": "segmentation-models-pytorch",
}
"""Projects that are called otherwise than their goldens."""


def told_by_name(name, case):
    """What the sentence must hold, from what the golden was made as."""
    plus = "v3plus" in name or case["project"] in ALWAYS_PLUS
    yield f"DeepLabv3{'+' if plus else ''} with "
    words = (word for part, word in ENCODERS.items() if re.search(part, name))
    yield f" with {next(words)}"
    stride = case.get("output_stride") or next(iter(re.findall(r"(?:_os|-d)(8|16)", name)), None)
    if stride and "hrnet" not in name:
        yield f"output stride {stride},"
    points = [len(axis) for axis in sampled_points(*case["size"])]
    yield f" {len(case['logits']) // (points[0] * points[1])} classes, as "
    yield SAVERS.get(case["project"], case["project"])


@pytest.mark.thorough
@pytest.mark.timeout(3600)
def test_the_command_says_what_each_checkpoint_is(tmp_path):
    wrong = []
    for name in NAMES:
        case, folder = golden(name), tmp_path / name
        folder.mkdir()
        command = ["models", "recognise", str(saved(case, folder))]
        if "output_stride" in case:
            command += ["--output-stride", str(case["output_stride"])]
        for option in (*TWINS.get(name, ()), *case.get("options", ())):
            command += ["--network-option", option]
        result = CliRunner().invoke(main, command)
        shutil.rmtree(folder)
        said = result.output.partition("\n")[0].casefold()
        missing = [one for one in told_by_name(name, case) if one.casefold() not in said]
        if result.exit_code or missing:
            wrong.append(f"{name}: {result.output} lacks {missing}")
    assert wrong == []
