"""Who holds a run folder, and how a second run is told."""

import os
import socket

from maskmill.schemas.errors import RunRefused


def this_process() -> str:
    """How others are told who holds a folder."""
    return f"{socket.gethostname()}, process {os.getpid()}"


def refusal(root: str, holder: str, remaining: float | None = None) -> RunRefused:
    """Another run is there; ``remaining`` seconds until its lease ends if nobody renews it."""
    if remaining is None:
        wait = "wait for it to end, or choose another output folder"
    else:
        wait = (
            "wait for it to end, or choose another output folder; if it was killed, its lease ends "
            f"in {max(1, round(remaining))} s, and the same command then goes on"
        )
    return RunRefused(f"{root} is in use by another run ({holder or 'unknown holder'}); {wait}")
