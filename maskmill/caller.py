"""The caller's process, given back as it was: for functions that are called from programs."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from maskmill.signals import handlers_kept


@contextmanager
def process_kept() -> Iterator[None]:
    """A block after which the process is as before, as far as a program can tell.

    That is its environment, search path, warnings, levels of loggers, signal handlers.

    Beside what we change ourselves, packages that are imported on the way change some of them.
    PyTorch's settings and Ray's are given back where they are changed.
    """
    environment, path, levels = dict(os.environ), list(sys.path), _logging_levels()
    with warnings.catch_warnings(), handlers_kept():
        try:
            yield
        finally:
            sys.path[:] = path
            for name in os.environ.keys() - environment.keys():
                del os.environ[name]
            os.environ.update(environment)
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)


def _logging_levels() -> dict[str, int]:
    """Of every logger there is; the root's name is empty."""
    named = logging.getLogger().manager.loggerDict.items()
    known = {name: logger.level for name, logger in named if isinstance(logger, logging.Logger)}
    return {"": logging.getLogger().level, **known}
