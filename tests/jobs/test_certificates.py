"""Servers whose certificate nobody has signed: refused in a sentence, or trusted as it says."""

import datetime
import os
import ssl
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address

import pytest

from tests.jobs.labelled_run import labelled_run

x509 = pytest.importorskip("cryptography.x509")

TOOLS = {
    "labelstudio": ("LABEL_STUDIO_API_KEY", "REQUESTS_CA_BUNDLE"),
    "cvat": ("CVAT_ACCESS_TOKEN", "SSL_CERT_FILE"),
}


class Nothing(BaseHTTPRequestHandler):
    """A server that is no tool of annotators."""

    def do_GET(self) -> None:
        self.send_response(418)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_args) -> None:
        pass


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A file with the key and the certificate of 127.0.0.1, signed by itself."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loopback")])
    today = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("certificate") / "loopback.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture(scope="module")
def url(certificate):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Nothing)
    server.handle_error = lambda *_: None  # those who hang up are what is tested
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"https://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join(10)


@pytest.mark.parametrize("tool", TOOLS)
def test_a_certificate_of_ones_own_is_refused_and_then_trusted(tool, url, certificate, tmp_path):
    if tool == "cvat":
        pytest.importorskip("cvat_sdk")
    token, bundle = TOOLS[tool]
    labels = labelled_run(tmp_path, 1)
    words = ("push", tool, labels, "--url", url, "--project", "Street")
    plain = {name: value for name, value in os.environ.items() if name not in (bundle,)}

    def said(**environment):
        done = subprocess.run(
            [sys.executable, "-m", "maskmill", *map(str, words)],
            env={**plain, token: "secret", **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
        assert done.stderr.count("maskmill: ") == 1
        return done.stderr

    refused = said()
    assert "certificate cannot be verified" in refused and f"in {bundle}" in refused
    trusted = said(**{bundle: str(certificate)})
    assert "418" in trusted and "certificate" not in trusted
