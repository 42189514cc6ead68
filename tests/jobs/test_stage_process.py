"""What a process of Ray's tells of its blocks where several threads call it at once."""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pyarrow as pa
import pytest
import torch

from maskmill.jobs.engines import stage_process
from maskmill.jobs.engines.stage_process import (
    EXIT_DEVICE_LOST,
    StageProcess,
    retries_of,
    with_share_of_gpu,
)
from maskmill.pipeline.runs.isolation import name_node
from maskmill.pipeline.runs.stages import Stage
from maskmill.pipeline.storage.retries import RETRIES
from maskmill.schemas.errors import DeviceLost

LONGEST = 60.0


@pytest.fixture
def node(monkeypatch):
    """This process is one of Ray's."""
    context = SimpleNamespace(get_node_id=lambda: "0123456789abcdef")
    ray = SimpleNamespace(get_runtime_context=lambda: context)
    monkeypatch.setitem(sys.modules, "ray", ray)
    yield
    name_node("")


def test_calls_side_by_side_tell_each_retry_once(node):
    meeting = threading.Barrier(2)

    def open_stage():
        def asked_again(table):
            RETRIES.add(3, 0.0)
            meeting.wait(LONGEST)  # neither has told of itself yet
            return table

        return asked_again

    stage = Stage(name="predict", open=open_stage, holds_network=True)
    process = StageProcess([stage], gpu_share=1.0)
    table = pa.table({"block": [0]})
    with ThreadPoolExecutor(2) as threads:
        told = list(threads.map(process, [table, table]))
    assert sum(map(retries_of, told)) == 6
    assert retries_of(process_alone(table)) == 3


class Ended(BaseException):
    """In the place of the end of this process."""


def test_a_process_whose_gpu_is_lost_ends_at_once_and_says_why(node, monkeypatch, capsys):
    """So Ray starts it anew, and the picture that did it is found."""

    def end(code):
        raise Ended(code)

    def lose(table):
        raise DeviceLost("the GPU is lost to this process: an illegal memory access")

    monkeypatch.setattr(os, "_exit", end)
    process = StageProcess([Stage(name="predict", open=lambda: lose, holds_network=True)], 1.0)
    with pytest.raises(Ended, match=str(EXIT_DEVICE_LOST)):
        process(pa.table({"block": [0]}))
    assert "an illegal memory access; this process ends" in capsys.readouterr().err


@pytest.mark.parametrize(("share", "bounds"), [(0.25, [0.225]), (1.0, []), (0.0, [])])
def test_a_part_of_a_gpu_is_a_part_of_its_memory(node, monkeypatch, share, bounds):
    """For who is asked what fits, and for who works; loading and saving have no GPU."""
    set_to: list[float] = []
    monkeypatch.setattr(stage_process, "local_gpus", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", set_to.append)
    assert with_share_of_gpu(share, max, 1, 2) == 2
    assert set_to == pytest.approx(bounds)
    for holds_network in (True, False):
        StageProcess([Stage(name="any", open=dict, holds_network=holds_network)], share)
    assert set_to == pytest.approx(2 * bounds)


def process_alone(table: pa.Table) -> pa.Table:
    """One call in a process that was asked again before it began."""
    RETRIES.add(5, 0.0)
    alone = Stage(name="predict", open=lambda: count_three, holds_network=True)
    return StageProcess([alone], gpu_share=1.0)(table)


def count_three(table: pa.Table) -> pa.Table:
    RETRIES.add(3, 0.0)
    return table
