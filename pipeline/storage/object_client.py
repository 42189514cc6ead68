"""The obstore client of one bucket, and its failures as ``OSError``s."""

import errno
import re
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from maskmill.pipeline.storage.retries import first_line
from maskmill.pipeline.storage.s3_settings import S3Settings

if TYPE_CHECKING:
    from obstore.store import S3Store

_NOT_IMPLEMENTED: Final = re.compile(r"status code: 501|<Code>NotImplemented</Code>")
_LONGEST_REQUEST: Final = timedelta(hours=6)  # a stall ends a request, not its length


class Changed(OSError):
    """A conditional write that the store refused: the object is not what it was said to be."""


class ConditionsUnsupported(OSError):
    """The store does not take conditional writes."""


@lru_cache(maxsize=64)
def open_store(settings: S3Settings, retries: int) -> "S3Store":
    """A client that repeats a request up to ``retries`` times by itself; one per settings."""
    from obstore.store import S3Store

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


def _bucket_endpoint(settings: S3Settings, endpoint: str) -> str:
    if not settings.virtual_addressing:
        return endpoint
    scheme, _, host = endpoint.partition("://")
    return f"{scheme}://{settings.bucket}.{host}"


def as_os_error(error: Exception, place: str) -> OSError | None:
    """The ``OSError`` that says the same; None for what is no failure of the store."""
    from obstore import exceptions as failures

    text, line = str(error), first_line(error)
    if "NoSuchBucket" in text:
        bucket = place.split("/")[2]
        return FileNotFoundError(errno.ENOENT, f"there is no bucket {bucket}")
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(errno.ENOENT, "no such object")
    if isinstance(error, OSError):
        return error
    if isinstance(error, failures.AlreadyExistsError):
        return FileExistsError(errno.EEXIST, "something is there already")
    if isinstance(error, failures.PreconditionError):
        return Changed(errno.ESTALE, "another version is there")
    if isinstance(error, failures.PermissionDeniedError | failures.UnauthenticatedError):
        return PermissionError(errno.EACCES, f"access denied to these credentials: {line}")
    if isinstance(error, failures.NotSupportedError) or _NOT_IMPLEMENTED.search(text):
        return ConditionsUnsupported(errno.ENOTSUP, line)
    if "BareRedirect" in text or "PermanentRedirect" in text:
        return OSError(errno.EREMOTE, "the bucket is in another region; name it with ?region=")
    if isinstance(error, failures.InvalidPathError | ValueError):
        return OSError(
            errno.EINVAL, f"a key that cannot be used ({line}); rename it, or list the others"
        )
    if isinstance(error, failures.BaseError):
        return OSError(errno.EIO, line)
    return None
