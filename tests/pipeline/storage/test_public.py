"""Public buckets: requests without a signature."""

import pytest

from maskmill.pipeline.storage.filesystems import read_bytes
from maskmill.schemas.errors import ErrorCode, ImageFailure
from tests.s3_servers import request


def test_nobody_reads_what_is_public(server: str, bucket: str, monkeypatch):
    """Without credentials requests are not signed; with wrong ones ``anonymous`` does it."""
    request(server, "PUT", f"/{bucket}/private", data=b"1")
    request(server, "PUT", f"/{bucket}/public", data=b"2", x_amz_acl="public-read")
    options = f"?scheme=http&endpoint_override={server}"
    assert read_bytes(f"s3://{bucket}/public{options}&anonymous=true") == b"2"
    assert read_bytes(f"s3://{bucket}/private{options}") == b"1"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    assert read_bytes(f"s3://{bucket}/public{options}") == b"2"
    with pytest.raises(ImageFailure) as caught:
        read_bytes(f"s3://{bucket}/private{options}")
    assert caught.value.code is ErrorCode.PERMISSION_DENIED
