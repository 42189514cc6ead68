"""Frames of a webcam that `maskmill view` answers, beside the bare forward of the same network.

    python benchmarks/try_frames.py [ROUNDS]

One process: the server of the page, and as many lanes as the page has (at least the cores), each
with one frame under way. What a browser needs to encode and to paint frames is not in it. Bare
forwards, as many at once and on one thread each, take turns with the answers, so that whatever
else the machine does weighs on both. One JSON line: rates by the clock, and their ratio by the
clock and by the CPU time of the process, which a busy machine does not change.
"""

import http.client
import json
import os
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import torch
import uvicorn
from pictures import write_crops

from maskmill.jobs.web.application import Pages
from maskmill.jobs.web.guard import Guard
from maskmill.jobs.web.trial import Trial
from maskmill.pipeline.models.segmenter import network_input
from maskmill.pipeline.prelabel.labeller import Labeller

LANES = max(2, len(os.sched_getaffinity(0)))
FRAMES = 6  # of a lane in a turn
TOKEN = "benchmark"


@contextmanager
def served(trial: Trial) -> Iterator[int]:
    """The page's server in a thread of its own; its port."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    names = frozenset({"localhost"})
    app = Guard(Pages(None, trial).application(), token=TOKEN, port=port, names=names)
    config = uvicorn.Config(
        app, log_level="error", access_log=False, ws="none", timeout_keep_alive=600
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield port
    finally:
        server.should_exit = True
        thread.join()


def asking(port: int, frame: bytes) -> Callable[[], None]:
    """A lane's way to have one frame answered: one connection, as a browser keeps it."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    headers = {"Origin": f"http://127.0.0.1:{port}", "Cookie": f"maskmill_{port}={TOKEN}"}

    def ask() -> None:
        connection.request("POST", "/api/try?model=&threshold=0", frame, headers)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200 or not body:
            raise RuntimeError(f"{answer.status}: {answer.headers.get('x-facts')}")

    return ask


def forwarding(labeller: Labeller, frame: bytes) -> Callable[[], None]:
    """A lane's bare forward of the same frame, made ready before."""
    image = labeller.decode(frame, "frame")
    shown = labeller.show(image.pixels, image.reduction)
    spec, segmenter = labeller.segmenter.spec, labeller.segmenter
    pixels = network_input(list(shown.pictures), spec.preprocessing, segmenter.device)

    def forward() -> None:
        torch.set_num_threads(1)
        with torch.inference_mode():
            segmenter.network(pixels)

    return forward


def turn(pool: ThreadPoolExecutor, lanes: list[Callable[[], None]]) -> tuple[float, float]:
    """Seconds by the clock, and of CPU, for FRAMES of every lane."""
    started, used = time.perf_counter(), time.process_time()
    for done in [pool.submit(lambda one=one: [one() for _ in range(FRAMES)]) for one in lanes]:
        done.result()
    return time.perf_counter() - started, time.process_time() - used


def measure(rounds: int) -> dict[str, object]:
    """Both rates, and how near the answers come to the forward."""
    with tempfile.TemporaryDirectory() as folder:
        frames = [one.read_bytes() for one in sorted(write_crops(Path(folder), LANES).iterdir())]
    trial = Trial(None)
    labeller = trial.labeller()
    found: dict[str, list[tuple[float, float]]] = {"bare": [], "answered": []}
    with closing(trial), served(trial) as port, ThreadPoolExecutor(LANES) as pool:
        lanes = {
            "bare": [forwarding(labeller, frame) for frame in frames],
            "answered": [asking(port, frame) for frame in frames],
        }
        for number in range(rounds + 1):
            for name, ways in lanes.items():
                seconds = turn(pool, ways)
                if number:  # the first round warms up
                    found[name].append(seconds)
    count = LANES * FRAMES
    clock, cpu = (
        [bare[kind] / answered[kind] for bare, answered in zip(*found.values(), strict=True)]
        for kind in (0, 1)
    )
    rates = {
        name: round(count / statistics.median(one for one, _ in turns), 2)
        for name, turns in found.items()
    }
    return {
        "benchmark": "frames of a webcam answered",
        "precision": labeller.segmenter.precision,
        "lanes": LANES,
        "rounds": rounds,
        "frames_per_second": rates,
        "of_bare_forward": round(statistics.median(clock), 3),
        "of_bare_forward_cpu": round(statistics.median(cpu), 3),
    }


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]) if sys.argv[1:] else 8)), flush=True)
