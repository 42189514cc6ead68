"""Where fetched and imported models are kept on this machine, and what files they are."""

import hashlib
import os
from pathlib import Path


def cache_dir() -> Path:
    """MASKMILL_CACHE, else the folder ``maskmill`` in the user's cache folder."""
    own = os.environ.get("MASKMILL_CACHE")
    if own:
        return Path(own)
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "maskmill"


def weights_sha256(path: Path) -> str:
    """Hex digest of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return str(digest.hexdigest())
