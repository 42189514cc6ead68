"""`prelabel`, `convert` and `audit` as functions: the commands' work without their printed summary.

They raise what the commands print (classes of ``maskmill.schemas.errors``), and leave the process
as it was: its Ray, PyTorch's threads, signal handlers, environment.
"""

from contextlib import AbstractContextManager, nullcontext
from os import fspath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from maskmill.caller import process_kept
from maskmill.jobs.audit import audit_masks
from maskmill.jobs.convert import convert as convert_command
from maskmill.jobs.option_values import checked
from maskmill.jobs.options import run_options
from maskmill.jobs.prelabel import prelabel as prelabel_command
from maskmill.jobs.run import Outcome, run
from maskmill.keywords import AuditKeywords, ConvertKeywords, PathOrUri, PrelabelKeywords
from maskmill.opened_run import OpenedRun, open_run
from maskmill.pipeline.audit.job import Audited, AuditJob
from maskmill.pipeline.audit.plan import AuditOptions
from maskmill.pipeline.convert.job import Converted, ConvertJob
from maskmill.pipeline.convert.options import conversion_request
from maskmill.pipeline.datasets.left_out import sentence
from maskmill.pipeline.prelabel.job import PrelabelJob
from maskmill.pipeline.prelabel.settings import PrelabelSettings
from maskmill.schemas.errors import RunFailed

if TYPE_CHECKING:
    from typing_extensions import Unpack


@process_kept()
def prelabel(
    source: PathOrUri, out: PathOrUri, **settings: "Unpack[PrelabelKeywords]"
) -> OpenedRun:
    """Label every image of ``source`` as `maskmill prelabel` does; masks, COCO and rows in ``out``.

    The same call again continues where it was. An image that fails is a row with its reason, and
    no exception: look at ``.ledger.failed``. Settings are the command's options by their names.

    Raises:
        SettingsError: what is asked for cannot be, or ``out`` holds another run.
        ModelError: weights that are missing or do not fit.
        RunFailed: the run broke; what is committed stays.
        TypeError: a setting that there is not.
    """
    options = checked(prelabel_command, settings)
    how = run_options(options)
    run(PrelabelJob(PrelabelSettings(source=fspath(source), out=fspath(out), **options)), how)
    return open_run(out)


@process_kept()
def convert(
    source: PathOrUri,
    out: PathOrUri,
    from_format: str,
    to_format: str,
    **settings: "Unpack[ConvertKeywords]",
) -> Outcome[Converted]:
    """Convert the masks of ``source`` as `maskmill convert` does, into ``out``/dataset.

    Returns:
        ``ledger`` counts the samples; ``result.imports`` says how the result is imported, and
        ``result.proof`` what ``check=True`` found; ``result.counts`` counts the pictures that were
        copied, and what of the source was left out.

    Raises:
        SettingsError: formats or settings that cannot be, or ``out`` holds another run.
        FileFailure: the source as a whole does not follow its format.
        RunFailed: the run broke, the check found a difference where there should be none, or
            ``strict`` was asked for and something was left out.
        TypeError: a setting that there is not.
    """
    options = checked(
        convert_command, {**settings, "from_format": from_format, "to_format": to_format}
    )
    how = run_options(options)
    strict = options.pop("strict", False)
    mine = {name: options.pop(name) for name in ("check", "block_samples") if name in options}
    request = conversion_request(source=fspath(source), **options)
    outcome = run(ConvertJob(request=request, out=fspath(out), **mine), how)
    proof = outcome.result.proof
    if proof is not None and not proof.is_kept:
        raise RunFailed("\n".join([f"{outcome.out}: the check found a difference", *proof.lines()]))
    if strict and any(outcome.result.counts.left_out.values()):
        told = "; ".join(sentence(*one) for one in sorted(outcome.result.counts.left_out.items()))
        raise RunFailed(f"{outcome.out}: done, but left out: {told}")
    return outcome


@process_kept()
def audit(
    predictions: PathOrUri,
    truth: PathOrUri,
    out: PathOrUri | None = None,
    **settings: "Unpack[AuditKeywords]",
) -> Outcome[Audited]:
    """Compare masks with their truth as `maskmill audit` does; files only where ``out`` is given.

    Returns:
        ``ledger`` counts the pairs; ``result.document`` holds the numbers of audit.json, and
        ``result.missed`` what of ``fail_under`` was missed.

    Raises:
        SettingsError: what is asked for cannot be, or ``out`` holds another run.
        RunFailed: the run broke.
        TypeError: a setting that there is not.
    """
    options = checked(audit_masks, settings)
    how = run_options(options)
    overwrite = bool(options.pop("overwrite", False))
    both = AuditOptions(predictions=fspath(predictions), truth=fspath(truth), **options)
    with _folder(out) as folder:
        job = AuditJob(
            options=both,
            out=folder,
            keep=out is not None,
            retry_failed=how.retry_failed,
            overwrite=overwrite,
        )
        return run(job, how)


def _folder(out: PathOrUri | None) -> AbstractContextManager[str]:
    if out is not None:
        return nullcontext(fspath(out))
    return TemporaryDirectory(prefix="maskmill-audit-")
