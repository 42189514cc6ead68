"""How many threads each worker of a training gets on a cluster, where nobody says."""

from hypothesis import given
from hypothesis import strategies as st

from maskmill.jobs.engines.training import threads_with_room

NODES = st.lists(st.integers(1, 64).map(lambda cpus: {"CPU": float(cpus)}), min_size=1, max_size=6)


@given(NODES, st.integers(1, 20))
def test_as_many_threads_as_leave_room_for_every_worker(nodes, count):
    found = threads_with_room(count, nodes)

    def room(threads: int) -> int:
        return sum(int(node["CPU"]) // threads for node in nodes)

    assert room(found + 1) < count
    assert found == 1 or room(found) >= count


def test_two_small_nodes_give_what_one_of_them_has():
    """Not what the machine says: a container's share is all that Ray hands out."""
    assert threads_with_room(2, [{"CPU": 1.0}, {"CPU": 1.0}]) == 1
    assert threads_with_room(2, [{"CPU": 8.0}, {"CPU": 8.0}, {"CPU": 1.0}]) == 8
    assert threads_with_room(4, [{"CPU": 8.0}, {"CPU": 8.0}]) == 4


def test_a_worker_on_a_gpu_is_where_the_gpus_are():
    nodes = [{"CPU": 64.0}, {"CPU": 32.0, "GPU": 2.0}]
    assert threads_with_room(2, nodes, gpu_share=1.0) == 16
    assert threads_with_room(4, nodes, gpu_share=0.5) == 8
