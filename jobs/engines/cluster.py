"""Every Ray setting of the house: how a cluster is started, joined or shared, and ended."""

import gc
import importlib
import logging
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from maskmill.jobs.engines.backlog import bounded_backlog
from maskmill.jobs.engines.gpus import Gpus, count_gpus
from maskmill.jobs.engines.machine import local_cores, object_store_bytes
from maskmill.jobs.engines.native_stderr import native_stderr_in_file
from maskmill.jobs.engines.watch import Watch
from maskmill.jobs.temporary_root import short_temporary_root
from maskmill.schemas.errors import RunFailed, SettingsError
from maskmill.search_path import clean_environment
from maskmill.signals import handlers_kept

SPARE_CPUS = 2
"""Logical CPUs beside the workers': loading and saving must never wait for a network's CPU."""

KEEP_IDLE_WORKERS = {
    "num_workers_soft_limit": 64,
    "idle_worker_killing_time_threshold_ms": 600_000,
}
"""Ray ends a process that idles for a second; ours have seconds of imports behind them."""

NO_PROGRESS_SECONDS = 1800
ANSWER_SECONDS = 10
SHUTDOWN_SECONDS = 3.0
PARTS = (".schemas", ".pipeline", ".jobs")
_NOT_CODE = shutil.ignore_patterns("__pycache__", "*.pyc")
_QUIET = {"log_to_driver": False, "logging_level": logging.ERROR}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What a cluster offers, and who sees it die. ``is_own``: started by us, on this machine."""

    cpus: int
    gpus: Gpus
    is_own: bool
    watch: Watch


@contextmanager
def cluster(address: str | None) -> Iterator[Cluster]:
    """Ray for the length of a block: a cluster of our own, the running one at ``address``, or the
    one that a caller's process is connected to already.

    A cluster of our own listens on loopback only, behind a token that dies with it, reports to
    nobody, and is started from an empty folder: nothing of the user's reaches its processes. What
    the process was like before (environment, folder, signal handlers, logging) it is afterwards.

    Raises:
        RunFailed: no cluster answers at ``address``, or Ray does not start.
    """
    with ExitStack() as stack:
        stack.enter_context(_environment_kept(is_own=address is None))
        import ray  # it reads some of the variables when it is imported

        stack.enter_context(_quiet())  # until the very end: what is stopped has much to say
        if ray.is_initialized():
            watch = stack.enter_context(_shared())
        else:
            log = stack.enter_context(native_stderr_in_file())
            stack.enter_context(redirect_stdout(log))
            watch = stack.enter_context(_own() if address is None else _joined(address))
        stack.enter_context(_data_context())
        resources = ray.cluster_resources()
        yield Cluster(
            cpus=int(resources.get("CPU", 0)),
            gpus=count_gpus(),
            is_own=watch.is_own,
            watch=watch,
        )


@contextmanager
def _own() -> Iterator[Watch]:
    """A cluster on this machine, whatever RAY_ADDRESS or a running one may say."""
    import ray

    folder = tempfile.mkdtemp(prefix="maskmill-", dir=short_temporary_root())
    empty = Path(folder) / "empty"
    empty.mkdir()
    try:
        with clean_environment(str(empty)), handlers_kept():
            ray.init(
                address="local",
                num_cpus=local_cores() + SPARE_CPUS,
                object_store_memory=object_store_bytes(),
                include_dashboard=False,
                _system_config=KEEP_IDLE_WORKERS,
                _temp_dir=folder,
                **_QUIET,
            )
        with _ended_afterwards(is_own=True) as watch:
            yield watch
    finally:
        _kill_all_of(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _kill_all_of(folder: str) -> None:
    """Processes of the cluster whose session lies in a folder, as their command lines say.

    Ray's agents look for their raylet now and then, and not while they are still starting: told to
    stop in that moment, they would outlive us by many seconds.
    """
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if os.fsencode(folder) in file.read_bytes() and int(file.parent.name) != os.getpid():
                os.kill(int(file.parent.name), signal.SIGKILL)


@contextmanager
def _joined(address: str) -> Iterator[Watch]:
    """A running cluster; its workers get this very code."""
    import ray

    _check_answer(address)
    with staged_package() as package:
        try:
            with tempfile.TemporaryDirectory() as empty, clean_environment(empty), handlers_kept():
                ray.init(address=address, runtime_env={"py_modules": [package]}, **_QUIET)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise RunFailed(
                f"the Ray cluster at {address} does not take us in: {error}. If it wants a token, "
                "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN; Python and Ray must be the same "
                "versions there"
            ) from error
        with _ended_afterwards(is_own=False) as watch:
            yield watch


@contextmanager
def _shared() -> Iterator[Watch]:
    """The caller's own connection: used, and left as it was."""
    with Watch(is_own=False) as watch:
        yield watch


@contextmanager
def _ended_afterwards(*, is_own: bool) -> Iterator[Watch]:
    import ray

    processes = ray._private.worker._global_node if is_own else None
    try:
        with Watch(is_own=is_own) as watch:
            yield watch
    finally:
        gc.collect()  # the actors of a broken run are held by its exception's frames
        # With its raylet dead, Ray waits for it for ever: hence a thread, and then the processes.
        ending = threading.Thread(target=ray.shutdown, daemon=True)
        ending.start()
        ending.join(SHUTDOWN_SECONDS)
        if processes is not None:
            with suppress(Exception):
                processes.kill_all_processes(check_alive=False, allow_graceful=False)


@contextmanager
def _environment_kept(*, is_own: bool) -> Iterator[None]:
    """Variables as they were, after ours for Ray."""
    before = dict(os.environ)
    for name, value in (
        ("RAY_USAGE_STATS_ENABLED", "0"),
        ("RAY_DATA_DISABLE_PROGRESS_BARS", "1"),
        ("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0"),
        ("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "600"),  # a busy machine imports for minutes
    ):
        os.environ.setdefault(name, value)
    if is_own:
        os.environ.pop("RAY_ADDRESS", None)
        # With "clusters" disabled Ray takes loopback for its address; see Ray's ray_constants.py.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    if is_own and "ray" not in sys.modules:  # an imported Ray has made up its mind about tokens
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    try:
        yield
    finally:
        for name in {*os.environ, *before}:
            if name not in before:
                del os.environ[name]
            elif os.environ.get(name) != before[name]:
                os.environ[name] = before[name]


@contextmanager
def _quiet() -> Iterator[None]:
    """Ray as silent as a library is to be; what broke is said by RunFailed."""
    importlib.import_module("ray.data")  # it sets levels of its own when it is imported
    levels = {"ray": logging.ERROR, "ray.data": logging.CRITICAL}
    loud = {name: logging.getLogger(name).level for name in levels}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"ray\..*")
        try:
            _set_levels(levels)
            yield
        finally:
            _set_levels(loud)


def _set_levels(levels: dict[str, int]) -> None:
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@contextmanager
def _data_context() -> Iterator[None]:
    """Ray Data as we need it."""
    from ray.data import DataContext

    context = DataContext.get_current()
    wanted = {
        "enable_progress_bars": False,
        "use_datasource_v2": False,  # lists one small file with two processes more
        "print_on_execution_start": False,
        "raise_original_map_exception": True,  # a full disk is told from a bug by its type
        "execution_no_progress_timeout_s": NO_PROGRESS_SECONDS,
    }
    before = {name: getattr(context, name) for name in wanted}
    try:
        for name, value in wanted.items():
            setattr(context, name, value)
        with bounded_backlog(context):
            yield
    finally:
        for name, value in before.items():
            setattr(context, name, value)


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


@contextmanager
def staged_package() -> Iterator[str]:
    """A folder ``maskmill`` with all of the package in it, for the workers of a running cluster.

    An installed package is such a folder; a checkout's lacks what lies beside it.
    """
    door, *parts = (importlib.import_module(f"maskmill{name}") for name in ("", *PARTS))
    with tempfile.TemporaryDirectory(prefix="maskmill-code-") as folder:
        target = Path(folder) / "maskmill"
        shutil.copytree(_folder_of(door), target, ignore=_NOT_CODE)
        for name, part in zip(PARTS, parts, strict=True):
            place = target / name[1:]
            shutil.copytree(_folder_of(part), place, ignore=_NOT_CODE, dirs_exist_ok=True)
        yield str(target)


def _folder_of(module: ModuleType) -> str:
    return str(Path(str(module.__file__)).parent)
