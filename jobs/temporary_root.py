"""Where Ray's session folder may lie: its sockets have names that the kernel limits."""

import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from maskmill.schemas.errors import RunFailed

SOCKET_BYTES = 103 if sys.platform == "darwin" else 107
"""Longest name of a Unix socket; see unix(7)."""

_BELOW_ROOT = (
    "/maskmill-12345678/session_2026-11-21_15-16-01_123456_4194304/sockets/plasma_store.10"
)
_OTHERS = ("/tmp", "/var/tmp", "/dev/shm")  # the last one is memory


def short_temporary_root(candidates: Iterable[str] | None = None) -> Path:
    """A folder for temporary files below which Ray's sockets have names short enough.

    A ``maskmill-`` folder of ``tempfile.mkdtemp(dir=…)`` in it leaves them room. The user's own
    choice (TMPDIR) comes first, then the usual ones.

    Raises:
        RunFailed: none of them is short enough and can be written.
    """
    tried = list(candidates) if candidates is not None else [_users_own(), *_OTHERS]
    longest = SOCKET_BYTES - len(_BELOW_ROOT)
    for name in tried:
        root = os.path.abspath(name)  # noqa: PTH100  a link is not followed: it may be the shorter
        if len(os.fsencode(root)) <= longest and Path(root).is_dir() and _writable(root):
            return Path(root)
    raise RunFailed(
        f"Ray needs a folder for temporary files whose name has at most {longest} bytes, and none "
        f"of these can be used: {', '.join(dict.fromkeys(tried))}; set TMPDIR to a short one"
    )


def _users_own() -> str:
    try:
        return tempfile.gettempdir()
    except FileNotFoundError:  # it finds no folder that can be written, not even the working one
        return os.environ.get("TMPDIR", _OTHERS[0])


def _writable(folder: str) -> bool:
    return os.access(folder, os.W_OK | os.X_OK)
