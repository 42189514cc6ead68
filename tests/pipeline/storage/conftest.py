"""An S3 server for the session, a bucket and a proxy for each test."""

import uuid
from collections.abc import Iterator

import pytest

from tests.s3_servers import FaultProxy, fault_proxy, request, s3_server


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    pytest.importorskip("moto.server")
    with s3_server() as address:
        yield address


@pytest.fixture
def bucket(server: str, monkeypatch) -> str:
    """An empty bucket, and somebody to be."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    name = f"b{uuid.uuid4().hex[:12]}"
    request(server, "PUT", f"/{name}")
    return name


@pytest.fixture
def proxy(server: str) -> Iterator[FaultProxy]:
    with fault_proxy(server) as running:
        yield running


@pytest.fixture
def place(bucket: str, proxy: FaultProxy) -> str:
    """A folder in the bucket, by way of the proxy; requests that stall are given up soon."""
    options = f"scheme=http&endpoint_override={proxy.address}&region=us-east-1&request_timeout=1"
    return f"s3://{bucket}/out put?{options}"
