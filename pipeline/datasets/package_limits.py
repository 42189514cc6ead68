"""How large a package of documents may be, and what its parts are called."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageLimits:
    """The most pictures and bytes of one package; None = no limit."""

    images: int | None = None
    bytes: int | None = None


def numbered(stem: str, number: int, count: int, suffix: str) -> str:
    """``stem-00000-of-00003.suffix``, as TensorFlow and Hugging Face name shards."""
    return f"{stem}-{number:05d}-of-{count:05d}{suffix}"
