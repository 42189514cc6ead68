"""Uploads in pieces that nobody will end: their process was killed, and the pieces are kept.

A store charges for pieces and shows them to nobody. obstore ends its own uploads where it fails
and cannot list those of others, so botocore is asked, which signs in the same way.
"""

import errno
from typing import Any

from maskmill.pipeline.storage.objects import Bucket
from maskmill.pipeline.storage.s3_settings import S3Settings

_TRIES = 5


def end_uploads(bucket: Bucket, prefix: str) -> int:
    """End every upload below a folder that is under way; how many there were.

    Only for whoever knows that nobody else writes there.

    Raises:
        OSError: they cannot be listed or ended; it says why.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    name, ended = bucket.settings.bucket, 0
    try:
        client = _client(bucket.settings)
        pages = client.get_paginator("list_multipart_uploads")
        for page in pages.paginate(Bucket=name, Prefix=f"{prefix}/"):
            for upload in page.get("Uploads", []):
                client.abort_multipart_upload(
                    Bucket=name, Key=upload["Key"], UploadId=upload["UploadId"]
                )
                ended += 1
    except (BotoCoreError, ClientError) as error:
        raise OSError(errno.EIO, f"s3://{name}/{prefix}: {error}") from error
    return ended


def _client(settings: S3Settings) -> Any:
    from botocore import UNSIGNED
    from botocore.config import Config
    from botocore.session import Session

    keys: dict[str, Any] = {}
    if settings.signer is not None:
        given = settings.signer()
        keys = {
            "aws_access_key_id": given["access_key_id"],
            "aws_secret_access_key": given["secret_access_key"],
            "aws_session_token": given["token"],
        }
    style = "virtual" if settings.virtual_addressing else "path"
    return Session().create_client(
        "s3",
        region_name=settings.region,
        endpoint_url=settings.endpoint,
        verify=settings.verify_certificates,
        config=Config(
            s3={"addressing_style": style},
            retries={"mode": "standard", "max_attempts": _TRIES},
            connect_timeout=settings.connect_seconds,
            read_timeout=settings.request_seconds,
            signature_version=None if keys else UNSIGNED,
        ),
        **keys,
    )
