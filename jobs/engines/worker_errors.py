"""What went wrong in a process of Ray's, as what the user is to hear."""

from maskmill.jobs.machine_failures import machine_failure
from maskmill.schemas.errors import MaskmillError, RunFailed


def explained(error: BaseException) -> BaseException:
    """What a task ended by, as :func:`failure_of` has it; what is not of Ray's as itself."""
    import ray.exceptions

    if not isinstance(error, ray.exceptions.RayError):
        return error
    # Only of a task's failure: the cause comes as it was raised (cluster.py asks for it).
    cause = getattr(error, "cause", None)
    return failure_of(cause, f"a worker hit a bug; what is committed stays\n{error}")


def failure_of(cause: BaseException | None, bug: str) -> MaskmillError:
    """Our own failure as it was raised, a machine's as a sentence, all else as ``bug``."""
    if isinstance(cause, MaskmillError):
        return cause
    return RunFailed(machine_failure(cause) or bug)
