"""Who trains: options of `finetune`, and what they mean: this process, or workers on Ray."""

from typing import TYPE_CHECKING, Any

import click

from maskmill.jobs.options import with_options

if TYPE_CHECKING:
    from maskmill.jobs.engines.choice import RunOptions
    from maskmill.pipeline.training.job import Trainer

_OPTIONS = (
    click.option(
        "--engine",
        type=click.Choice(["auto", "local", "ray"]),
        default="auto",
        show_default=True,
        help="local: this process; ray: Ray Train; auto: local for one worker and no --address.",
    ),
    click.option(
        "--address",
        metavar="auto|HOST:PORT",
        help="Train on this running Ray cluster; DATA and OUT must lie on storage its nodes share.",
    ),
    click.option(
        "--workers",
        type=click.IntRange(1),
        default=1,
        show_default=True,
        help="Processes that share every batch, each on a GPU or on --threads cores.",
    ),
    click.option(
        "--gpus-per-worker",
        type=click.FloatRange(0, 1),
        help="GPUs that each worker takes; 0: cores only. [default: 1 where there are GPUs]",
    ),
)


worker_options = with_options(*_OPTIONS)
"""--engine, --address, --workers and --gpus-per-worker."""


def chosen_workers(options: dict[str, Any]) -> "tuple[RunOptions, Trainer, int]":
    """Take these options out of a command's: how samples are looked at, who trains, how many.

    Raises:
        SettingsError: several workers in this process, or more than there are cores.
    """
    from maskmill.jobs.engines.choice import RunOptions
    from maskmill.jobs.engines.machine import local_gpus
    from maskmill.schemas.errors import SettingsError

    engine, address, workers, gpus = (
        options.pop(name) for name in ("engine", "address", "workers", "gpus_per_worker")
    )
    on_gpus = gpus != 0 and local_gpus() > 0
    if engine == "auto":
        engine = "ray" if address or workers > 1 else "local"
    if engine == "local" and workers > 1:
        raise SettingsError(
            f"--engine local trains in this process, and --workers {workers} are {workers} "
            "processes: leave --engine out"
        )
    if not address:
        _check_machine(workers, gpus, on_gpus=on_gpus)
    how = RunOptions(
        engine=engine,
        address=address,
        gpus_per_worker=gpus,
        retry_failed=options.pop("retry_failed"),
    )
    return how, _trainer(engine, gpus), workers


def _check_machine(workers: int, gpus: float | None, *, on_gpus: bool) -> None:
    """Whether this machine has room for so many.

    Raises:
        SettingsError: it has not.
    """
    from maskmill.jobs.engines.machine import local_cores, local_gpus
    from maskmill.schemas.errors import SettingsError

    room = int(local_gpus() / (gpus or 1)) if on_gpus else local_cores()
    if workers > room:
        there = f"{local_gpus()} GPUs" if on_gpus else f"{local_cores()} cores"
        raise SettingsError(f"--workers {workers} are too many: there are {there}")
    if on_gpus and workers == 1 and local_gpus() > 1 and gpus is None:
        click.echo(
            f"note: one of {local_gpus()} GPUs is used; --workers {local_gpus()} trains on all",
            err=True,
        )


def _trainer(engine: str, gpus: float | None) -> "Trainer":
    if engine == "local":
        from maskmill.jobs.training import LocalTrainer

        return LocalTrainer()
    from maskmill.jobs.engines.training import RayTrainer

    return RayTrainer(gpus_per_worker=gpus)
