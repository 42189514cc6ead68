"""How many processes hold a network, or do the one stage there is."""

import pytest

from maskmill.jobs.engines.cluster import SPARE_CPUS, Cluster
from maskmill.jobs.engines.gpus import Gpus
from maskmill.jobs.engines.placement import holders_of
from maskmill.jobs.engines.watch import Watch
from maskmill.schemas.errors import SettingsError


def cluster_of(gpus=0):
    there = Gpus(by_node=((gpus, ""),), cpus_by_node=(16,))
    return Cluster(cpus=16 + SPARE_CPUS, gpus=there, is_own=True, watch=Watch(is_own=True))


@pytest.mark.parametrize(
    ("gpus", "share", "wanted", "blocks", "holders"),
    [
        (0, 0, None, 100, 16),
        (0, 0, None, 3, 3),
        (0, 0, None, 1, 1),
        (0, 0, 4, 100, 4),
        (0, 0, 4, 2, 2),
        (2, 1.0, None, 100, 2),
        (2, 0.5, None, 100, 4),
        (2, 0.4, None, 100, 4),
        (3, 0.3, None, 100, 9),
        (1, 0.1, None, 100, 10),
        (2, 1.0, None, 1, 1),
    ],
)
def test_workers_are_as_many_as_find_a_block(gpus, share, wanted, blocks, holders):
    found = holders_of(
        cluster_of(gpus), wanted=wanted, gpu_share=share, blocks=blocks, spare_cpus=SPARE_CPUS
    )
    assert found == holders


@pytest.mark.parametrize(("wanted", "gpus", "share"), [(17, 0, 0), (3, 2, 1.0)])
def test_more_than_there_is_room_for_is_refused_however_little_there_is_to_do(wanted, gpus, share):
    with pytest.raises(SettingsError, match="lower --workers"):
        holders_of(
            cluster_of(gpus), wanted=wanted, gpu_share=share, blocks=1, spare_cpus=SPARE_CPUS
        )
