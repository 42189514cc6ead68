"""The obstore client of one bucket, and its failures as ``OSError``s."""

import errno
import os
import re
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from maskmill.pipeline.storage.retries import first_line
from maskmill.pipeline.storage.s3_settings import S3Settings

if TYPE_CHECKING:
    from obstore.store import S3Store

_STATUS: Final = re.compile(r"status code: (\d{3})")
_CODE: Final = re.compile(r"<Code>(\w+)</Code>")
_LONGEST_REQUEST: Final = timedelta(hours=6)  # a stall ends a request, not its length

_opened_in: Final[set[int]] = set()  # the process that opened the first client


class Changed(OSError):
    """A conditional write that the store refused: the object is not what it was said to be."""


class ConditionsUnsupported(OSError):
    """The store does not take conditional writes."""


@lru_cache(maxsize=64)
def open_store(settings: S3Settings, retries: int) -> "S3Store":
    """A client that repeats a request up to ``retries`` times by itself; one per settings."""
    from obstore.store import S3Store

    _opened_in.add(os.getpid())
    options: dict[str, Any] = {
        "region": settings.region,
        "virtual_hosted_style_request": settings.virtual_addressing,
        "client_options": {
            "allow_http": True,
            "allow_invalid_certificates": not settings.verify_certificates,
            "connect_timeout": timedelta(seconds=settings.connect_seconds),
            "read_timeout": timedelta(seconds=settings.request_seconds),
            "timeout": _LONGEST_REQUEST,
        },
        "retry_config": {
            "max_retries": retries,
            "retry_timeout": timedelta(seconds=settings.patience.seconds),
        },
    }
    if settings.endpoint is not None:
        options["endpoint"] = _bucket_endpoint(settings, settings.endpoint)
    if settings.signer is None:
        options["skip_signature"] = True
    else:
        options["credential_provider"] = settings.signer
    return S3Store(settings.bucket, **options)


def refuse_fork() -> None:
    """Fail where a fork inherited our clients: their threads stayed behind, and it would wait for
    ever.

    Raises:
        RuntimeError: it did.
    """
    if _opened_in and os.getpid() not in _opened_in:
        raise RuntimeError("a process that used S3 was forked; start its children by spawn")


def _bucket_endpoint(settings: S3Settings, endpoint: str) -> str:
    if not settings.virtual_addressing:
        return endpoint
    scheme, _, host = endpoint.partition("://")
    return f"{scheme}://{settings.bucket}.{host}"


def as_os_error(error: Exception, place: str) -> OSError | None:
    """The ``OSError`` that says the same; None for what is no failure of the store."""
    from obstore import exceptions as failures

    text, line = str(error), first_line(error)
    status = _STATUS.search(text)
    code = _CODE.search(text)
    said = " ".join(part[1] for part in (status, code) if part is not None)
    if "NoSuchBucket" in text:
        return FileNotFoundError(errno.ENOENT, f"there is no bucket {place.split('/')[2]}")
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(errno.ENOENT, "no such object")
    if isinstance(error, OSError):
        return error
    if isinstance(error, failures.AlreadyExistsError):
        return FileExistsError(errno.EEXIST, "something is there already")
    if isinstance(error, failures.PreconditionError):
        return Changed(errno.ESTALE, "another version is there")
    if said[:3] in ("401", "403") or "Token" in said:  # AWS says 400 ExpiredToken
        return PermissionError(errno.EACCES, f"access denied to these credentials ({said})", place)
    if isinstance(error, failures.NotSupportedError) or "501" in said or "NotImpl" in said:
        return ConditionsUnsupported(errno.ENOTSUP, line)
    if "BareRedirect" in text or said[:3] == "301":
        return OSError(errno.EREMOTE, "the bucket is in another region; name it with ?region=")
    if isinstance(error, failures.InvalidPathError | ValueError):
        return OSError(
            errno.EINVAL, f"a key that cannot be used ({line}); rename it, or list the others"
        )
    if isinstance(error, failures.BaseError):
        return OSError(errno.EIO, line + (f" ({code[1]})" if code is not None else ""))
    return None
