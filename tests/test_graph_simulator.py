"""The simulator obeys what can be computed by hand; the page says what it says."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.graph_simulator import (
    Machines,
    StageCost,
    check,
    simulate,
    table,
    whole_block_graph,
)

PAGE = Path(__file__).resolve().parents[1] / "docs" / "scale.md"


def rate(*stages: StageCost, block_images: int = 10, **machines: float) -> float:
    found = simulate(stages, Machines(**machines), block_images=block_images)
    return found.images_per_second


def stage(name: str = "only", cost: float = 0.01, processes: int = 1, gpu: float = 0.0):
    return StageCost(name=name, core_seconds=cost, gpu_seconds=gpu, processes=processes)


def test_one_stage_is_as_fast_as_its_processes_and_its_cores():
    assert rate(stage(), cores=8) == pytest.approx(100)
    assert rate(stage(processes=4), cores=8) == pytest.approx(400, rel=0.05)
    assert rate(stage(processes=4), cores=2) == pytest.approx(200, rel=0.05)


def test_the_slowest_stage_is_the_limit_where_there_are_cores():
    stages = (stage("a", 0.002), stage("b", 0.01), stage("c", 0.004))
    assert rate(*stages, cores=8) == pytest.approx(100, rel=0.02)


def test_stages_on_too_few_cores_add_up():
    stages = (stage("a", 0.002, 2), stage("b", 0.01, 2), stage("c", 0.004, 2))
    assert rate(*stages, cores=2) == pytest.approx(2 / 0.016, rel=0.05)


def test_the_driver_is_a_wall_that_bigger_blocks_move():
    walls = [
        rate(stage(processes=8), cores=8, driver_seconds=0.05, block_images=block)
        for block in (10, 20)
    ]
    assert walls == pytest.approx([200, 400], rel=0.02)


def test_a_gpu_that_waits_for_its_host_is_idle_meanwhile():
    stages = (stage("load", 0.001, 8), stage("predict", 0.003, gpu=0.001))
    found = simulate(stages, Machines(cores=16), block_images=10)
    assert found.gpu_idle == pytest.approx(0.75, abs=0.02)
    assert found.first_bottleneck == "predict"


def test_the_machine_that_was_measured_is_predicted_within_a_tenth():
    assert check()["ratio"] == pytest.approx(1, abs=0.1)


def test_whole_blocks_on_cores_take_the_sum_of_what_is_done_to_an_image():
    stages, machines = whole_block_graph(cores=4, forward=0.030, load=0.002, save=0.0045)
    found = simulate(stages, machines, block_images=32)
    assert found.images_per_second == pytest.approx(4 / 0.040, rel=0.02)


def test_blocks_that_wait_for_a_gpu_are_there_when_it_is_free():
    """More of them under way change nothing where all stages are steady, and never slow it."""
    rates = [
        rate(stage("load", 0.001, 4), replace(stage("predict", 0.001, gpu=0.003), in_flight=many))
        for many in (2, 4)
    ]
    assert rates == pytest.approx([250, 250], rel=0.02)


def test_the_page_says_what_the_simulation_says():
    rows = [
        re.findall(r"[\d,]+", line)
        for line in PAGE.read_text().splitlines()
        if re.match(r"\| (one thread|as built) ", line)
    ]
    names = ("nodes", "gpus_per_node", "images_per_second", "gpu_idle")
    said = [[int(cell.replace(",", "")) for cell in row[:4]] for row in rows]
    found = [[one[name] for name in names] for one in table()]
    assert len(said) == len(found) > 5
    for row, expected in zip(said, found, strict=True):
        assert row == [*expected[:3], round(expected[3] * 100)]
