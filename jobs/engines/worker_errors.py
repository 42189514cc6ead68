"""What went wrong in a process of Ray's, as what the user is to hear."""

from maskmill.jobs.machine_failures import machine_failure
from maskmill.schemas.errors import MaskmillError, RunFailed


def explained(error: BaseException) -> BaseException:
    """Our own failure as it was raised, a machine's as a sentence, a bug as itself."""
    import ray.exceptions

    if not isinstance(error, ray.exceptions.RayError):
        return error
    # Only of a task's failure: the cause comes as it was raised (cluster.py asks for it).
    cause = getattr(error, "cause", None)
    if isinstance(cause, MaskmillError):
        return cause
    sentence = machine_failure(cause)
    return RunFailed(sentence or f"a worker hit a bug; what is committed stays\n{error}")
