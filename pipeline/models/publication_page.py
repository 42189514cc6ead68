"""The page of a published model: what it is, how it did, how to load it. Markdown with YAML.

The front matter is Hugging Face's (huggingface.co/docs/hub/model-cards): licence, task, scores.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from maskmill.pipeline.models.spec import ModelSpec

_HUB_LICENCES: Final = ("apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "cc0-1.0")

_PYTORCH: Final = """\
With PyTorch alone; the program takes any number and size of pictures:

```python
import torch

network = torch.export.load("program.pt2").module()
logits = network(images)  # (N, 3, H, W) -> (N, {classes}, h, w)
```

The state dict, under the names of maskmill's own network:

```python
from safetensors.torch import load_file

state = load_file("weights.safetensors")
```
"""

_TRANSFORMERS: Final = """
With transformers:

```python
from transformers import MobileNetV2ForSemanticSegmentation

network = MobileNetV2ForSemanticSegmentation.from_pretrained(".").eval()
logits = network(images).logits
```
"""


def page(card: Mapping[str, Any], spec: ModelSpec, *, has_transformers: bool) -> str:
    """README.md of a published model.

    Args:
        card: its model.json; ``training`` and ``scores`` where it was fine-tuned.
        spec: its spec.
        has_transformers: whether the folder holds what transformers loads.
    """
    names = [entry["name"] for entry in card["labels"]["classes"]]
    lines = [
        *_front_matter(card, has_transformers),
        f"# {card['name']}",
        "",
        f"{card['architecture']}: {card['description']}. {len(names)} classes: {', '.join(names)}.",
        "",
        *_history(card),
        "## Input and output",
        "",
        "RGB values x of 0 to 255, as (x - mean) / std with mean "
        f"{_numbers(spec.preprocessing.mean)} and std {_numbers(spec.preprocessing.std)}; "
        f"{spec.preprocessing.describe()}.",
        f"Logits lie on a grid of every {spec.grid_stride} pixels ({spec.alignment}); scale them "
        "to the picture's size and take the class of the largest.",
        "",
        "## How to load it",
        "",
        "```\nmaskmill prelabel SOURCE OUT --model FOLDER\n```",
        "",
        _PYTORCH.format(classes=len(names)) + (_TRANSFORMERS if has_transformers else ""),
        f"Weights: `{card['weights']}`, sha256 {card['sha256']}. Licence: {card['licence']}.",
    ]
    return "\n".join(lines) + "\n"


def _front_matter(card: Mapping[str, Any], has_transformers: bool) -> list[str]:
    licence = str(card["licence"])
    known = next((one for one in _HUB_LICENCES if licence.lower().startswith(one)), None)
    return [
        "---",
        f"license: {known or 'other'}",
        *([] if known else [f"license_name: {json.dumps(licence)}"]),
        f"library_name: {'transformers' if has_transformers else 'pytorch'}",
        "pipeline_tag: image-segmentation",
        "tags:",
        *(f"- {tag}" for tag in ("semantic-segmentation", "deeplab", "maskmill")),
        *_model_index(card),
        "---",
        "",
    ]


def _model_index(card: Mapping[str, Any]) -> list[str]:
    """The mIoU on the validation pictures, as the hub shows it."""
    if "scores" not in card or card["scores"]["miou"]["value"] is None:
        return []
    return [
        "model-index:",
        f"- name: {json.dumps(card['name'])}",
        "  results:",
        "  - task:",
        "      type: image-segmentation",
        "    dataset:",
        "      name: validation pictures of the training data",
        "      type: private",
        "    metrics:",
        "    - type: mean_iou",
        f"      value: {card['scores']['miou']['value']:.4f}",
    ]


def _history(card: Mapping[str, Any]) -> Sequence[str]:
    """What it came from and how it did, where it was fine-tuned."""
    if not {"parent", "training", "scores", "before"} <= card.keys():
        return []
    training, scores, before = card["training"], card["scores"], card["before"]
    return [
        f"Fine-tuned by maskmill {training['tool_version']} from {card['parent']['name']} on "
        f"{training['samples']} pictures, {training['steps']} steps. Measured on "
        f"{scores['images']} others, which chose the best epoch and so flatter it a little:",
        "",
        "| class | IoU before | IoU after | 95 % interval |",
        "|---|---|---|---|",
        _line("all (mean)", before["miou"], scores["miou"]),
        *(_line(name, before["iou"][name], score) for name, score in scores["iou"].items()),
        "",
    ]


def _line(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    value, low, high = (_shown(after[end]) for end in ("value", "low", "high"))
    cell = name.replace("|", "\\|")
    return f"| {cell} | {_shown(before['value'])} | {value} | {low} to {high} |"


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{one:g}" for one in values)
