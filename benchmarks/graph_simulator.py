"""What a job's stages would do on machines that are not here: a discrete-event simulation.

    python benchmarks/graph_simulator.py

Prints JSON lines: the CPU machines whose rates were measured, held against the simulation, then the
table of docs/scale.md. Time passes block by block. A stage is a pool of processes; each has one
block at work and one waiting, as Ray's actor pools are told to, and cores are shared by whoever
wants one. What costs what is an input; what is assumed stands in docs/scale.md.
"""

import heapq
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """A stage: seconds of one core and of one GPU per image, and the processes that do it."""

    name: str
    core_seconds: float
    gpu_seconds: float = 0.0
    processes: int = 1
    bytes_out: float = 0.0  # of an image, to the next stage
    in_flight: int = 2  # blocks that a process holds: one at work, the others waiting


@dataclass(frozen=True, kw_only=True)
class Machines:
    """Nodes that are all alike. ``driver_seconds`` of one core per block are the driver's own."""

    nodes: int = 1
    cores: int = 2  # of each node
    driver_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Images per second in steady state, and the share of time in which the GPUs did nothing."""

    images_per_second: float
    gpu_idle: float
    first_bottleneck: str


@dataclass
class _Pool:
    """A stage at work: how many of its processes are free, and the blocks that wait for one."""

    cost: StageCost
    free: int
    waiting: list[int] = field(default_factory=list)
    busy_seconds: float = 0.0


def simulate(
    stages: Sequence[StageCost], machines: Machines, *, block_images: int, blocks: int = 400
) -> Prediction:
    """Run ``blocks`` blocks through the stages, in order, and look at the middle of the run.

    Cores are one pool: where more processes want one than there are, all wait in turn (first come,
    first served by block). A stage takes no block while the next one holds its fill.
    """
    clock = _Clock(stages, machines, block_images, blocks)
    done = list(clock.run())
    first, last = done[len(done) // 5], done[-len(done) // 5]
    images = (len(done) - len(done) // 5 - len(done) // 5) * block_images
    gpus = sum(stage.processes for stage in stages if stage.gpu_seconds)
    busy = images * sum(stage.gpu_seconds for stage in stages)
    rate = images / (last - first)
    idle = 1 - busy / (gpus * (last - first)) if gpus else 0.0
    return Prediction(
        images_per_second=rate,
        gpu_idle=max(0.0, idle),
        first_bottleneck=_bottleneck(stages, machines, block_images),
    )


class _Clock:
    """The events: a block ends a stage, a core or a process becomes free."""

    def __init__(
        self, stages: Sequence[StageCost], machines: Machines, block_images: int, blocks: int
    ) -> None:
        self._pools = [_Pool(stage, stage.processes) for stage in stages]
        self._pools[0].waiting = list(range(blocks))
        self._cores = machines.nodes * machines.cores
        self._driver_free = 0.0
        self._machines, self._images = machines, block_images
        self._events: list[tuple[float, int, int]] = []  # (when, block, stage)
        self._now = 0.0

    def run(self) -> Iterator[float]:
        """When each block is through."""
        self._start_what_can()
        while self._events:
            self._now, block, number = heapq.heappop(self._events)
            pool = self._pools[number]
            pool.free += 1
            self._cores += 1
            if number + 1 < len(self._pools):
                heapq.heappush(self._pools[number + 1].waiting, block)
            else:
                yield self._committed()
            self._start_what_can()

    def _committed(self) -> float:
        """The driver takes note of one block after the other."""
        self._driver_free = max(self._now, self._driver_free) + self._machines.driver_seconds
        return self._driver_free

    def _start_what_can(self) -> None:
        """Later stages first: what is nearly done makes room."""
        for number in reversed(range(len(self._pools))):
            pool = self._pools[number]
            while pool.waiting and pool.free and self._cores and self._has_room_after(number):
                block = heapq.heappop(pool.waiting)
                pool.free -= 1
                self._cores -= 1
                seconds = (pool.cost.core_seconds + pool.cost.gpu_seconds) * self._images
                heapq.heappush(self._events, (self._now + seconds, block, number))

    def _has_room_after(self, number: int) -> bool:
        """Whether what is under way here will find a place in the next stage."""
        if number + 1 == len(self._pools):
            return True
        pool, following = self._pools[number], self._pools[number + 1]
        under_way = pool.cost.processes - pool.free
        held = len(following.waiting) + following.cost.processes - following.free
        room = following.cost.in_flight * following.cost.processes
        return under_way + held < room + pool.cost.processes


def _bottleneck(stages: Sequence[StageCost], machines: Machines, block_images: int) -> str:
    """What alone would allow the fewest images per second."""
    cores = machines.nodes * machines.cores
    limits = {
        stage.name: stage.processes / (stage.core_seconds + stage.gpu_seconds) for stage in stages
    }
    # A process that waits for its GPU keeps a core: it launches kernels.
    limits["cores"] = cores / sum(stage.core_seconds + stage.gpu_seconds for stage in stages)
    if machines.driver_seconds:
        limits["driver"] = block_images / machines.driver_seconds
    return min(limits, key=lambda name: limits[name])


MEASURED = {"images_per_second": 38.41, "bare_forward": 50.0, "cores": 2}
"""2026-11-21-throughput.json, when every stage had processes of its own on cores, too."""

LOAD, SAVE, RAY = 2.5e-3, 4.0e-3, 3.5e-3
"""Core seconds per image of 640x480, default model; docs/benchmarks.md. Ray's are on all cores."""

ASSUMED_GPU = 1 / 3000
"""Seconds of a GPU per image: not measured yet; two to five thousand a second are expected."""

HOST_ONE_THREAD, HOST_AS_BUILT = 0.45e-3, 0.1e-3
"""Of the process with the network, per image, while its GPU waits; assumed, too. As built: 124
launches for a group of 8 at 5 microseconds, and the pictures' way into the pinned batch; the other
threads unpack and pack 0.9 MB while this one waits for the GPU. With one thread, all of it."""

DRIVER = 10e-3
"""Of the driver per block; assumed."""

PICTURE_BYTES, GRID_BYTES = 513 * 385 * 3, 21 * 65 * 49 * 4
CORES_PER_GPU = 24


def cpu_graph() -> tuple[Sequence[StageCost], Machines]:
    """The machine whose rate is known: a network for each core, light stages beside it."""
    cores = int(MEASURED["cores"])
    forward = cores / MEASURED["bare_forward"]
    light = {"processes": cores}
    stages = (
        StageCost(name="load", core_seconds=LOAD, **light),
        StageCost(name="predict", core_seconds=forward + RAY, processes=cores),
        StageCost(name="save", core_seconds=SAVE, **light),
    )
    return stages, Machines(cores=cores)


def whole_block_graph(
    *, cores: int, forward: float, load: float = LOAD, save: float = SAVE, engine: float = RAY
) -> tuple[Sequence[StageCost], Machines]:
    """Cores alone, as the engine does it now: a process for each, and whole blocks in each.

    Core seconds per image; Ray's own are on the same cores.
    """
    every = load + forward + save + engine
    return (StageCost(name="block", core_seconds=every, processes=cores),), Machines(cores=cores)


def gpu_graph(
    nodes: int, gpus: int, host: float, cores_per_gpu: int = CORES_PER_GPU
) -> tuple[Sequence[StageCost], Machines]:
    """``gpus`` on each node, and the pools that the Ray engine makes beside them.

    A core is kept for each GPU; loading and saving share the others by what they cost.
    """
    cores = cores_per_gpu * gpus
    left = nodes * (cores - gpus) - 2
    load, save = LOAD + RAY / 2, SAVE + RAY / 2
    loading, saving = (max(1, int(left * cost / (load + save))) for cost in (load, save))
    stages = (
        StageCost(name="load", core_seconds=load, processes=loading, bytes_out=PICTURE_BYTES),
        StageCost(
            name="predict",
            core_seconds=host,
            gpu_seconds=ASSUMED_GPU,
            processes=nodes * gpus,
            bytes_out=GRID_BYTES,
            in_flight=4,
        ),
        StageCost(name="save", core_seconds=save, processes=saving),
    )
    return stages, Machines(nodes=nodes, cores=cores, driver_seconds=DRIVER)


def cores_needed(host: float) -> float:
    """Cores for each GPU, so that it alone is the limit."""
    per_image = host + ASSUMED_GPU
    return 1 + (LOAD + SAVE + RAY) / per_image


def between_nodes(nodes: int, stages: Sequence[StageCost], rate: float) -> float:
    """Bytes per second from node to node, were every block's next process any of them."""
    return rate * sum(stage.bytes_out for stage in stages) * (nodes - 1) / nodes


def check() -> dict[str, object]:
    """The simulation of the CPU machine beside what was measured on it."""
    stages, machines = cpu_graph()
    found = simulate(stages, machines, block_images=32).images_per_second
    measured = MEASURED["images_per_second"]
    return {
        "benchmark": "simulated / measured prelabel on 2 cores",
        "simulated": round(found, 2),
        "measured": measured,
        "ratio": round(found / measured, 3),
    }


def table() -> Iterator[dict[str, object]]:
    """Images per second and idle GPUs: as built, and were a worker one thread."""
    block = 128
    for kind, host in (("one thread", HOST_ONE_THREAD), ("as built", HOST_AS_BUILT)):
        for nodes, gpus in ((1, 1), (1, 4), (1, 8), (2, 8), (4, 8)):
            stages, machines = gpu_graph(nodes, gpus, host)
            found = simulate(stages, machines, block_images=block, blocks=40 * nodes * gpus + 400)
            rate = found.images_per_second
            yield {
                "benchmark": f"simulated, {kind}",
                "nodes": nodes,
                "gpus_per_node": gpus,
                "block_images": block,
                "images_per_second": round(rate),
                "gpu_idle": round(found.gpu_idle, 2),
                "first_bottleneck": found.first_bottleneck,
                "cores_needed_per_gpu": round(cores_needed(host), 1),
                "megabytes_per_second_between_nodes": round(
                    between_nodes(nodes, stages, rate) / 1e6
                ),
            }


def main() -> None:
    for line in (check(), *table()):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
