"""Every Ray setting of the house: how a cluster is started or joined, and what runs on it."""

import gc
import importlib
import logging
import os
import secrets
import shutil
import socket
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

from maskmill.schemas.errors import RunFailed, SettingsError

OBJECT_STORE_BYTES = 1 << 30
"""Shared memory of a local cluster. Parcels are some 30 MB and only a few are under way."""

SPARE_CPUS = 2
"""Logical CPUs beside the workers': loading and saving must never wait for a predictor's CPU."""

TASK_CPUS = 0.25
"""What a loading or saving task asks for."""

KEEP_IDLE_WORKERS = {
    "num_workers_soft_limit": 64,
    "idle_worker_killing_time_threshold_ms": 600_000,
}
"""Ray ends a process that idles for a second; ours have seconds of imports behind them."""

PARTS = ("schemas", "pipeline", "jobs")
_NOT_CODE = shutil.ignore_patterns("__pycache__", "*.pyc")

NO_PROGRESS_SECONDS = 1800
ANSWER_SECONDS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What the cluster offers."""

    cpus: int
    gpus: float
    is_local: bool


@contextmanager
def cluster(address: str | None) -> Iterator[Capacity]:
    """Ray for the length of a block: a cluster of our own, or the running one at ``address``.

    A cluster of our own listens on loopback only, behind a token that dies with it, and reports
    to nobody. Workers of a running cluster get this very code.

    Raises:
        RunFailed: no cluster answers at ``address``.
    """
    if address is not None:
        _check_answer(address)
    _set_environment(local=address is None)
    with native_stderr_in_file() as messages, redirect_stdout(messages):
        yield from _session(address)


def _session(address: str | None) -> Iterator[Capacity]:
    import ray

    quiet = {"log_to_driver": False, "logging_level": logging.ERROR, "include_dashboard": False}
    try:
        if address is None:
            ray.init(
                num_cpus=local_cores() + SPARE_CPUS,
                object_store_memory=OBJECT_STORE_BYTES,
                _system_config=KEEP_IDLE_WORKERS,
                **quiet,
            )
        else:
            quiet.pop("include_dashboard")
            with staged_package() as folder:
                ray.init(address=address, runtime_env={"py_modules": [folder]}, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        if address is None:
            raise
        raise RunFailed(
            f"the Ray cluster at {address} does not take us in: {error}. If it wants a token, set "
            "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN; Python and Ray must be the same versions there"
        ) from error
    try:
        _set_data_context()
        yield _capacity(is_local=address is None)
    finally:
        gc.collect()  # the actors of a broken run are held by its exception's frames
        ray.shutdown()


@contextmanager
def native_stderr_in_file() -> Iterator[TextIO]:
    """Keep what Ray's native code writes to file descriptor 2 off the user's terminal.

    Our own messages and Python's tracebacks still go there. The file is kept, and named, when the
    block ends with an error. Gives a stream for what else is not for the user: Ray prints its
    messages about dead workers on stdout, which is for results.
    """
    if not _stderr_is_descriptor_2():  # a test runner, or a notebook
        yield sys.stderr
        return
    sys.stderr.flush()
    terminal = os.dup(2)
    ours = os.fdopen(os.dup(2), "w", buffering=1, encoding=sys.stderr.encoding, errors="replace")
    with tempfile.NamedTemporaryFile(
        "w", prefix="maskmill-ray-", suffix=".log", delete=False
    ) as log:
        os.dup2(log.fileno(), 2)
    before, sys.stderr = sys.stderr, ours
    try:
        with os.fdopen(os.dup(2), "w", buffering=1, errors="replace") as messages:
            yield messages
        Path(log.name).unlink()
    except Exception:
        ours.write(f"maskmill: what Ray wrote meanwhile is in {log.name}\n")
        raise
    finally:
        sys.stderr = before
        os.dup2(terminal, 2)
        os.close(terminal)
        ours.close()


def _stderr_is_descriptor_2() -> bool:
    try:
        return sys.stderr.fileno() == 2
    except (AttributeError, OSError, ValueError):
        return False


def local_cores() -> int:
    """Cores this process may use (a container's share, not the machine's)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def actor_pool(size: int) -> Any:
    """A fixed number of actors, each with one parcel at work and one waiting."""
    from ray.data import ActorPoolStrategy

    return ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=2)


def task_pool(size: int) -> Any:
    """At most ``size`` tasks of one operator at once.

    Without a bound Ray starts a process for each task it has room for, and every one of them
    spends seconds importing what another has imported already.
    """
    from ray.data import TaskPoolStrategy

    return TaskPoolStrategy(size=size)


def ask_worker(function: Any, *arguments: Any, num_gpus: float = 0) -> Any:
    """Run one function in a worker process and bring back its result."""
    import ray

    options = {"num_cpus": TASK_CPUS, "num_gpus": num_gpus}
    answer = ray.remote(**options)(function).remote(*arguments)
    import ray.data  # takes a second, which the worker spends on imports of its own

    return ray.get(answer)


def default_workers(capacity: Capacity, gpus_per_worker: float) -> int:
    """One worker per GPU share, or per core beyond those kept for loading and saving."""
    if gpus_per_worker:
        return max(1, int(capacity.gpus / gpus_per_worker))
    return max(1, capacity.cpus - SPARE_CPUS)


def default_tasks(capacity: Capacity) -> int:
    """One task of one CPU per core; our own cluster counts CPUs that are not there."""
    return max(1, capacity.cpus - (SPARE_CPUS if capacity.is_local else 0))


def check_workers(workers: int, gpus_per_worker: float, capacity: Capacity) -> None:
    """Refuse what would wait for ever.

    Raises:
        SettingsError: more workers than the cluster has CPUs or GPUs for.
    """
    if workers * gpus_per_worker > capacity.gpus:
        raise SettingsError(
            f"{workers} workers with {gpus_per_worker} GPUs each need {workers * gpus_per_worker}; "
            f"there are {capacity.gpus}: lower --workers or --gpus-per-worker"
        )
    if not gpus_per_worker and workers > max(1, capacity.cpus - SPARE_CPUS):
        raise SettingsError(
            f"{workers} workers need {workers + SPARE_CPUS} CPUs (one each and {SPARE_CPUS} for "
            f"loading and saving); there are {capacity.cpus}: lower --workers"
        )


def _check_answer(address: str) -> None:
    """Ray itself would go on asking for minutes."""
    host, _, port = address.rpartition(":")
    if address == "auto":
        return
    if "://" in address or not (host and port.isdigit()):
        raise SettingsError(f"--address {address}: give HOST:PORT of the head node, or auto")
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS).close()
    except OSError as error:
        raise RunFailed(f"no Ray cluster answers at {address}: {error}") from error


def _set_environment(*, local: bool) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if local:
        # With "clusters" disabled Ray takes loopback for its address; see Ray's ray_constants.py.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _set_data_context() -> None:
    from ray.data import DataContext

    warnings.filterwarnings("ignore", module=r"ray\..*")
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what broke is said by RunFailed
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.use_datasource_v2 = False  # lists one small file with two processes more
    context.print_on_execution_start = False
    context.raise_original_map_exception = True  # a full disk is told from a bug by its type
    context.execution_no_progress_timeout_s = NO_PROGRESS_SECONDS


def _capacity(*, is_local: bool) -> Capacity:
    import ray

    resources = ray.cluster_resources()
    return Capacity(
        cpus=int(resources.get("CPU", 0)), gpus=float(resources.get("GPU", 0)), is_local=is_local
    )


@contextmanager
def staged_package() -> Iterator[str]:
    """A folder ``maskmill`` with all of the package in it, for the workers of a running cluster.

    An installed package is such a folder; a checkout's lacks what lies beside it.
    """
    import maskmill

    parts = {name: importlib.import_module(f"maskmill.{name}") for name in PARTS}
    with tempfile.TemporaryDirectory(prefix="maskmill-code-") as folder:
        target = Path(folder) / "maskmill"
        shutil.copytree(_folder_of(maskmill), target, ignore=_NOT_CODE)
        for name, part in parts.items():
            shutil.copytree(_folder_of(part), target / name, ignore=_NOT_CODE, dirs_exist_ok=True)
        yield str(target)


def _folder_of(module: ModuleType) -> str:
    return str(Path(str(module.__file__)).parent)
