"""Who we are on S3, and where: against a server that checks the signature of every request."""

import json
import stat
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.lock import run_lock
from maskmill.pipeline.sources.registry import list_source
from maskmill.pipeline.storage.filesystems import bucket_place, read_bytes, resolve
from maskmill.schemas.errors import ErrorCode, ImageFailure, RunRefused, SettingsError
from tests.s3_servers import request, s3_server

POLICY = {"Effect": "Allow", "Action": "*", "Resource": "*"}
TRUST = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}


def policy(statement: dict[str, object]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@pytest.fixture(scope="module")
def account() -> Iterator[SimpleNamespace]:
    """A server that knows one user and one role, and a bucket with a public and a private file."""
    pytest.importorskip("moto.server")
    from botocore.session import Session
    from moto import settings

    with s3_server("pictures") as address, pytest.MonkeyPatch.context() as patch:
        iam = Session().create_client(
            "iam",
            endpoint_url=f"http://{address}",
            region_name="us-east-1",
            aws_access_key_id="root",
            aws_secret_access_key="root",
        )
        for name in ("us", "changing"):
            iam.create_user(UserName=name)
            iam.put_user_policy(UserName=name, PolicyName="all", PolicyDocument=policy(POLICY))
        role = iam.create_role(RoleName="r", AssumeRolePolicyDocument=policy(TRUST))["Role"]
        iam.put_role_policy(RoleName="r", PolicyName="all", PolicyDocument=policy(POLICY))

        made = [iam.create_access_key(UserName=name) for name in ("us", "changing", "changing")]
        keys = [(m["AccessKey"]["AccessKeyId"], m["AccessKey"]["SecretAccessKey"]) for m in made]
        key, secret = keys[0]
        request(address, "PUT", "/pictures/a.jpg", data=b"private")
        request(address, "PUT", "/pictures/b.jpg", data=b"public", x_amz_acl="public-read")
        patch.setattr(settings, "INITIAL_NO_AUTH_ACTION_COUNT", 0)
        yield SimpleNamespace(
            address=address, key=key, secret=secret, role=role["Arn"], changing=keys[1:]
        )


@pytest.fixture(autouse=True)
def nobody(monkeypatch, tmp_path: Path) -> None:
    """No credentials from anywhere."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


@pytest.fixture
def profiles(account, tmp_path: Path) -> None:
    """``right`` and ``wrong`` have keys, ``role`` only a role; all say where the server is."""
    (tmp_path / "credentials").write_text(
        f"[right]\naws_access_key_id={account.key}\naws_secret_access_key={account.secret}\n"
        f"[wrong]\naws_access_key_id={account.key}\naws_secret_access_key=guessed\n"
    )
    place = f"region = eu-central-1\nendpoint_url = http://{account.address}\n"
    service = f"s3 =\n  endpoint_url = http://{account.address}\n"
    (tmp_path / "config").write_text(
        f"[profile right]\n{place}[profile wrong]\n{place}"
        f"[profile role]\n{place}role_arn = {account.role}\nsource_profile = right\n"
        f"[profile service]\nregion = eu-central-1\nservices = here\nsource_profile = right\n"
        f"aws_access_key_id={account.key}\naws_secret_access_key={account.secret}\n"
        f"[services here]\n{service}"
    )


def use_every_client(root: str) -> None:
    """Sources, pictures, the run folder, its lock, and Parquet through pyarrow."""
    head, mark, options = root.partition("?")
    listing = list_source(root)
    assert [entry.key for entry in listing.entries] == ["a.jpg", "b.jpg"]
    assert [read_bytes(entry.uri) for entry in listing.entries] == [b"private", b"public"]
    layout = RunLayout(f"{head}/out{mark}{options}")
    with run_lock(layout) as lock:
        layout.write_table("rows.parquet", pa.table({"x": [1]}))
        lock.check()
    table = pq.read_table(layout.path("rows.parquet"), filesystem=layout.filesystem)
    assert table.num_rows == 1
    layout.filesystem.delete_dir(layout.path(""))


def assert_denied(root: str) -> None:
    head, mark, options = root.partition("?")
    with pytest.raises(SettingsError, match="access denied"):
        list_source(root)
    with pytest.raises(ImageFailure, match="access denied") as caught:
        read_bytes(f"{head}/a.jpg{mark}{options}")
    assert caught.value.code is ErrorCode.PERMISSION_DENIED
    with pytest.raises(RunRefused, match="access denied"), run_lock(RunLayout(root)):
        pass


@pytest.mark.parametrize("profile", ["right", "role", "service"])
def test_a_profile_says_who_and_where_for_every_client(profiles, monkeypatch, profile: str):
    monkeypatch.setenv("AWS_PROFILE", profile)
    use_every_client("s3://pictures")
    filesystem, path = resolve("s3://pictures/x")
    bucket, _ = bucket_place(filesystem, path)
    assert bucket.settings.region == "eu-central-1"


def test_the_wrong_profile_is_denied_everywhere(profiles, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "wrong")
    assert_denied("s3://pictures")


def test_a_profile_that_is_not_there_is_named(profiles, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "misspelt")
    with pytest.raises(SettingsError, match=r"misspelt.*check AWS_PROFILE"):
        list_source("s3://pictures")


def test_options_of_the_uri_come_first(profiles, account, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "right")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    options = f"?endpoint_override={account.address}&region=us-east-1&scheme=http"
    use_every_client(f"s3://pictures{options}")
    monkeypatch.setenv("AWS_PROFILE", "wrong")
    assert_denied(f"s3://pictures{options}")
    secret = quote(account.secret, safe="")
    use_every_client(f"s3://{account.key}:{secret}@pictures{options}")


def test_the_environment(account, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://{account.address}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", account.key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", account.secret)
    use_every_client("s3://pictures")


def write_process(path: Path, key: str, secret: str, lasts: timedelta) -> None:
    expires = (datetime.now(timezone.utc) + lasts).isoformat()
    answer = {"Version": 1, "AccessKeyId": key, "SecretAccessKey": secret, "Expiration": expires}
    path.write_text(f"#!{sys.executable}\nprint({json.dumps(json.dumps(answer))})\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_credentials_that_expire_are_renewed_while_a_run_lasts(account, monkeypatch, tmp_path):
    """A process gives a key for a minute, the key is withdrawn, the process gives the next."""
    from botocore.session import Session

    process = tmp_path / "give_key"
    first, second = account.changing
    write_process(process, *first, timedelta(minutes=1))
    (tmp_path / "config").write_text(
        f"[default]\ncredential_process = {process}\nendpoint_url = http://{account.address}\n"
        "region = us-east-1\n"
    )
    layout = RunLayout("s3://pictures/out")
    layout.write("x", b"1")
    ours = Session().create_client(
        "iam",
        endpoint_url=f"http://{account.address}",
        region_name="us-east-1",
        aws_access_key_id=account.key,
        aws_secret_access_key=account.secret,
    )
    write_process(process, *second, timedelta(minutes=1))
    ours.delete_access_key(UserName="changing", AccessKeyId=first[0])
    time.sleep(0.2)  # for a tenth of a second the client does not ask again
    layout.write("x", b"2")
    assert layout.read("x") == b"2"
    layout.clear("")


@contextmanager
def container_role(key: str, secret: str) -> Iterator[str]:
    """What a container platform offers at a local address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            expires = (datetime.now(timezone.utc) + timedelta(hours=1)).isoformat()
            answer = {"AccessKeyId": key, "SecretAccessKey": secret, "Expiration": expires}
            body = json.dumps(answer | {"Token": ""}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/role"
        server.shutdown()
        thread.join(5)


def test_the_role_of_a_container(account, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{account.address}")
    with container_role(account.key, account.secret) as uri:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri)
        use_every_client("s3://pictures")


def test_other_stores_stay_with_pyarrow():
    filesystem, path = resolve("gs://anonymous@bucket/a b/c.jpg")
    assert isinstance(filesystem, fs.GcsFileSystem) and path == "bucket/a b/c.jpg"
    filesystem, path = resolve("abfs://container@account.dfs.core.windows.net/a/c.jpg")
    assert isinstance(filesystem, fs.AzureFileSystem) and path == "container/a/c.jpg"
