"""What a process of Ray's tells of its blocks where several threads call it at once."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pyarrow as pa
import pytest

from maskmill.jobs.engines.stage_process import StageProcess, retries_of
from maskmill.pipeline.runs.isolation import name_node
from maskmill.pipeline.runs.stages import Stage
from maskmill.pipeline.storage.retries import RETRIES

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


def process_alone(table: pa.Table) -> pa.Table:
    """One call in a process that was asked again before it began."""
    RETRIES.add(5, 0.0)
    alone = Stage(name="predict", open=lambda: count_three, holds_network=True)
    return StageProcess([alone], gpu_share=1.0)(table)


def count_three(table: pa.Table) -> pa.Table:
    RETRIES.add(3, 0.0)
    return table
