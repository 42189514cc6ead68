"""Fault: one named mistake of an audit."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """One named mistake, with what shows it and what to do; the first keys of those it is about."""

    name: str
    message: str
    keys: tuple[str, ...] = ()
