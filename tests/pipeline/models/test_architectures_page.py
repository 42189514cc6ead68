"""The numbers on the pages about architectures and models are those of the networks."""

import re
from pathlib import Path

import pytest
import torch
from torchvision.models import segmentation

from maskmill.pipeline.models.adaptation import at_output_stride
from maskmill.pipeline.models.cost import count_multiply_adds, count_parameters
from maskmill.pipeline.models.loading import build_network
from maskmill.pipeline.models.networks.cascaded import build_parallel
from maskmill.pipeline.models.networks.deeplabv3plus import build
from maskmill.pipeline.models.networks.encoders import atrous_rates, build_encoder
from maskmill.pipeline.models.registry import MODELS
from maskmill.pipeline.models.spec import labels_of
from tests.pipeline.models.foreign_networks import Vainf

DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGE = (DOCS / "architectures.md").read_text("utf-8")
PUBLISHED = (DOCS / "models.md").read_text("utf-8")
ROWS = {
    cells[0]: cells[1:]
    for line in PAGE.splitlines()
    if len(cells := re.findall(r"\| `?([^|`]*)`? ?(?=\|)", line)) == 5
}
OWN = [name for name, spec in MODELS.items() if spec.weights is None]


def billions(network) -> float:
    return count_multiply_adds(network, (513, 513)) / 1e9


@pytest.mark.parametrize("name", OWN)
def test_costs(name):
    parameters, at_16, at_8, stride = ROWS[name]
    spec = MODELS[name]
    with torch.device("meta"):
        networks = [build_network(at_output_stride(spec, rate), 21) for rate in (16, 8)]
    assert float(parameters) == pytest.approx(count_parameters(networks[0]) / 1e6, abs=0.006)
    assert float(at_16) == pytest.approx(billions(networks[0]), abs=0.006)
    assert float(at_8) == pytest.approx(billions(networks[1]), abs=0.006)
    assert stride.strip() == ("4" if spec.grid_stride == 4 else "16 / 8")


def test_every_row_of_a_network_is_a_registered_one():
    assert {name for name in ROWS if name.startswith("deeplab")} == set(OWN)


@pytest.mark.parametrize(("backbone", "shown"), [("resnet50", "62.38"), ("mobilenet", "16.82")])
def test_costs_of_other_projects(backbone, shown):
    with torch.device("meta"):
        counted = billions(Vainf(backbone, 21, 16, plus=True))
    assert f"{counted:.2f}" == shown
    assert f"| {shown} | its README" in PUBLISHED


def published_rows() -> list[list[str]]:
    """network, published, ours, source of each row of that table."""
    part = PUBLISHED.split("## Published numbers, and ours")[1].split("\n## ")[0]
    return [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("|")][2:]


def test_numbers_beside_published_ones_are_ours():
    """In the order of the table; most stand on the page about architectures too."""
    with torch.device("meta"):
        plain = billions(build(21, encoder="xception65"))
        without_decoder = billions(build_parallel(21, encoder="xception65", multi_grid=None))
    xception, resnet, parallel = (
        ROWS[name]
        for name in (
            "deeplabv3plus_xception65", "deeplabv3plus_resnet101", "deeplabv3_resnet101_parallel"
        )
    )  # fmt: skip
    torchvision = [
        f"{getattr(segmentation, enum).DEFAULT.meta['_ops']:.2f}"
        for enum in (spec.weights.package for spec in MODELS.values() if spec.weights)
        if hasattr(segmentation, enum)
    ]
    expected = [
        *xception[1:3], f"{plain:.2f}", f"{without_decoder:.2f}", *resnet[1:3], *parallel[1:3],
        "62.38", "16.82", *torchvision[1:], torchvision[0],
    ]  # fmt: skip
    assert [row[2] for row in published_rows()] == [number.strip() for number in expected]
    for network, published, ours, _ in published_rows():
        assert float(ours) == pytest.approx(float(published), rel=0.13), network


@pytest.mark.parametrize("name", [name for name, spec in MODELS.items() if spec.trained])
def test_sizes_of_the_trained_models(name):
    (row,) = (
        line for line in PUBLISHED.splitlines() if line.startswith(f"| `{name}`") and "G at" in line
    )
    size, adds, height, width = re.search(
        r"\| ([\d.]+) M \| ([\d.]+) G at (\d+)x(\d+)", row
    ).groups()
    spec = MODELS[name]
    with torch.device("meta"):
        network = build_network(spec, len(labels_of(spec).classes))
    assert float(size) == pytest.approx(count_parameters(network) / 1e6, rel=0.005)
    counted = count_multiply_adds(network, (int(height), int(width))) / 1e9
    assert float(adds) == pytest.approx(counted, rel=0.02)


def test_rates_of_mobilenetv3_are_those_of_the_table():
    for output_stride, rates in (
        (16, [1] * 13 + [2, 2]),
        (8, [1] * 7 + [2] * 6 + [4, 4]),
    ):
        encoder = build_encoder("mobilenetv3_large", output_stride=output_stride)
        assert [rate for path, rate in atrous_rates(encoder).items() if "blocks" in path] == rates
