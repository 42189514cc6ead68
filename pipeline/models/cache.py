"""Where fetched and imported models are kept on this machine."""

import os
from pathlib import Path


def cache_dir() -> Path:
    """MASKMILL_CACHE, else the folder ``maskmill`` in the user's cache folder."""
    own = os.environ.get("MASKMILL_CACHE")
    if own:
        return Path(own)
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "maskmill"
