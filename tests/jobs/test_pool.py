"""How many workers a run starts."""

from types import SimpleNamespace

import pytest

from maskmill.jobs.prelabel_config import PrelabelConfig
from maskmill.jobs.prelabel_operators import pool_of
from maskmill.jobs.runtime import SPARE_CPUS, Capacity
from maskmill.schemas.errors import SettingsError


def plan_of(**options):
    return SimpleNamespace(config=PrelabelConfig(source="in", out="out", model="any", **options))


@pytest.mark.parametrize(
    ("cores", "gpus", "options", "blocks", "workers"),
    [
        (16, 0, {}, 100, 16),
        (16, 0, {}, 3, 3),
        (16, 0, {}, 1, 1),
        (16, 0, {"workers": 4}, 100, 4),
        (16, 0, {"workers": 4}, 2, 2),
        (16, 2, {}, 100, 2),
        (16, 2, {"gpus_per_worker": 0.5}, 100, 4),
        (16, 2, {}, 1, 1),
    ],
)
def test_workers_are_as_many_as_find_a_block(cores, gpus, options, blocks, workers):
    capacity = Capacity(cpus=cores + SPARE_CPUS, gpus=gpus, is_local=True)
    pool = pool_of(plan_of(**options), capacity, blocks=blocks)
    assert pool.workers == workers
    assert pool.gpus_per_worker == (options.get("gpus_per_worker", 1.0) if gpus else 0)


def test_more_than_there_is_room_for_is_refused_however_little_there_is_to_do():
    with pytest.raises(SettingsError, match="lower --workers"):
        pool_of(
            plan_of(workers=17), Capacity(cpus=16 + SPARE_CPUS, gpus=0, is_local=True), blocks=1
        )
