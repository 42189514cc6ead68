"""`maskmill serve` as a command: what it refuses before it serves, how it begins and ends."""

import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner

from maskmill.jobs.cli import main
from tests.jobs.conftest import ROOT, command_line
from tests.jobs.served import TOKEN

MODEL = ("deeplabv3_mobilenet_v3_large", "--untrained", "--image-size", "65")


def refused(*arguments: object, **environment: str) -> str:
    """What a command that cannot be says."""
    result = CliRunner().invoke(main, ["serve", *map(str, arguments)], env=environment)
    assert result.exit_code == 2, result.output
    return result.output


def test_what_cannot_be_served_is_said_before_it_is_loaded(tmp_path: Path) -> None:
    url = "http://127.0.0.1:1"
    empty, two = tmp_path / "empty", tmp_path / "two"
    empty.write_text("\n")
    two.write_text("one two\n")
    for arguments, said in (
        (("--label-studio", url), "$LABEL_STUDIO_API_KEY holds no token"),
        (("--label-studio", url, "--token-file", empty), f"{empty} holds no token"),
        (("--label-studio", url, "--token-file", two), f"{two} holds"),
        (("--label-studio", url, "--token-file", tmp_path / "no"), "cannot read the token file"),
        (("--token-file", empty), "is for --label-studio"),
        (("--host", "999.1.1.1"), "cannot listen on 999.1.1.1"),
        (("--time-limit", "0"), "1<=x<=3600"),
        (("resnet", "--port", "0"), "no model 'resnet'"),
    ):
        assert said in refused(*arguments, LABEL_STUDIO_API_KEY="").replace("\n", " ")
    for wrong in ("ftp://a.example", "localhost:8080", "http://", "http://u:p@a.example"):
        said = refused("--label-studio", wrong, LABEL_STUDIO_API_KEY=TOKEN)
        assert "is no address" in said and TOKEN not in said
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"port {port}: Address already in use" in refused("--port", port)


@pytest.mark.slow
def test_it_serves_until_a_signal_and_shows_no_token(tmp_path: Path) -> None:
    command = command_line(
        "serve", *MODEL, "--port", "0", "--json", "--label-studio", "http://[::1]:1"
    )
    environment = {**os.environ, "LABEL_STUDIO_API_KEY": TOKEN}
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        begun = json.loads(process.stdout.readline())
        health = requests.get(f"{begun['url']}/health", timeout=30)
        told = Path(f"/proc/{process.pid}/cmdline")
        shown = told.read_text() if told.exists() else ""
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert begun["url"].startswith("http://127.0.0.1:")
    assert health.json()["model_version"] == begun["version"]
    assert process.returncode == 143
    assert out == ""
    assert "Traceback" not in err and "stopped" not in err
    for text in (shown, err, health.text, json.dumps(begun)):
        assert TOKEN not in text
