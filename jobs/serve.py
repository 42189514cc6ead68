"""`maskmill serve`: a model on a port, for Label Studio and for everyone."""

import socket
import sys
from typing import TYPE_CHECKING, Any

import click

from maskmill.jobs.options import exits_cleanly, json_option, say_json
from maskmill.jobs.prelabel import prelabel
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.text import printable
from maskmill.signals import exit_code_of

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from maskmill.jobs.serving.application import Limits
    from maskmill.jobs.serving.task_pictures import TaskPictures
    from maskmill.pipeline.prelabel.labeller import Labeller

LOOPBACK = ("127.0.0.1", "localhost", "::1")
SHARED = (
    "weights",
    "network_options",
    "labels",
    "untrained",
    "batch_size",
    "image_size",
    "output_stride",
    "scales",
    "flip",
    "window",
    "overlap",
    "threshold",
    "precision",
    "min_confidence",
    "min_area",
    "segments",
    "max_pixels",
)
"""Options of `prelabel` that say what a picture's labels are: with the same, they are the same."""


@click.command()
@click.argument("model", required=False)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=9090,
    show_default=True,
    help="Port to listen on; 0: one that is free.",
)
@click.option(
    "--label-studio",
    metavar="URL",
    help="Where the pictures of Label Studio's tasks may be fetched from, and from nowhere else.",
)
@click.option(
    "--token-file",
    metavar="FILE",
    help="File with the token of a Label Studio user. [default: LABEL_STUDIO_API_KEY, of the "
    "environment]",
)
@click.option(
    "--device", type=click.Choice(["cpu", "cuda"]), help="Where the network runs. [default: a GPU "
    "where there is one]",
)  # fmt: skip
@click.option(
    "--time-limit",
    type=click.FloatRange(1, 3600),
    default=90.0,
    show_default=True,
    metavar="SECONDS",
    help="Most time for one request; Label Studio waits 100.",
)
@click.option(
    "--max-upload",
    type=click.FloatRange(0, min_open=True),
    default=100.0,
    show_default=True,
    metavar="MB",
    help="Largest body, and largest picture of a task.",
)
@click.option(
    "--max-waiting",
    type=click.IntRange(1),
    default=32,
    show_default=True,
    help="Requests at once; more are told to come back.",
)
@json_option
@exits_cleanly
def serve(
    model: str | None,
    host: str,
    port: int,
    label_studio: str | None,
    token_file: str | None,
    device: str | None,
    time_limit: float,
    max_upload: float,
    max_waiting: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Serve MODEL over HTTP: pictures in, masks or COCO out, and Label Studio's ML backend.

    MODEL is a name of `maskmill models list`. Masks are those that `maskmill prelabel` writes with
    the same options. It listens on this machine alone unless --host says otherwise, and has no
    passwords: put it behind something that has. /openapi.json describes it; see docs/serve.md.

    \b
    Examples:
      maskmill serve
      maskmill serve deeplabv3_resnet101 --weights mine.pth --port 8001
      maskmill serve --label-studio http://localhost:8080 --token-file ls.token
      curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' localhost:9090/predict >mask.png
      curl -F image=@photo.jpg -H 'Accept: application/json' localhost:9090/predict

    \b
    Exit codes: 1 it could not serve, 2 usage; ended by a signal, 128 and its number.
    """
    # Starlette, uvicorn and torch are heavy; --help is not to wait for them.
    from maskmill.jobs.serving.application import Limits
    from maskmill.pipeline.models.torch_settings import exact_settings
    from maskmill.pipeline.prelabel.labeller import Labeller
    from maskmill.pipeline.prelabel.settings import PrelabelSettings

    limits = Limits(max_bytes=int(max_upload * 1e6), max_waiting=max_waiting, seconds=time_limit)
    door = _label_studio(label_studio, token_file, limits)
    with _bound(host, port) as listener, exact_settings():
        settings = PrelabelSettings(source="", out="", model=model, **options)
        labeller = Labeller(settings, device=device)
        for note in labeller.notes:
            _say(note)
        name = f"[{host}]" if ":" in host else host
        url = f"http://{name}:{listener.getsockname()[1]}"
        app = _application(labeller, door, limits, local_only=host in LOOPBACK)
        listener.listen()
        _announce(url, labeller, label_studio, as_json=as_json)
        _run(app, listener)


serve.params += [
    option
    for option in prelabel.params
    if isinstance(option, click.Option) and option.name in SHARED
]


def _label_studio(
    url: str | None, token_file: str | None, limits: "Limits"
) -> "TaskPictures | None":
    """The one place pictures of tasks may come from, its token looked for before it is needed."""
    from maskmill.jobs.serving.task_pictures import TaskPictures
    from maskmill.pipeline.exchange.label_studio import TOKEN_VARIABLE
    from maskmill.pipeline.exchange.tokens import TokenPlace

    if url is None:
        if token_file is not None:
            raise SettingsError("--token-file is for --label-studio URL")
        return None
    place = TokenPlace(variable=TOKEN_VARIABLE, file=token_file)
    place.read()
    return TaskPictures(url=url, token=place.read, max_bytes=limits.max_bytes)


def _bound(host: str, port: int) -> socket.socket:
    """A socket that holds the port before the network is loaded, and listens once it is."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        reason = error.strerror or str(error)
        raise SettingsError(
            f"cannot listen on {host} port {port}: {reason}; choose another with --host, --port"
        ) from error
    return listener


def _application(
    labeller: "Labeller", pictures: "TaskPictures | None", limits: "Limits", *, local_only: bool
) -> "Starlette":
    from maskmill.jobs.serving.application import Service, application
    from maskmill.jobs.serving.inference import Inference
    from maskmill.jobs.serving.label_studio import LabelStudioBackend

    inference, version = Inference(labeller), labeller.version()
    backend = LabelStudioBackend(
        inference, pictures, version=version, seconds=limits.seconds, say=_say
    )
    service = Service(inference, backend, limits, version)
    return application(service, limits, local_only=local_only)


def _announce(url: str, labeller: "Labeller", label_studio: str | None, *, as_json: bool) -> None:
    """Where it is; whoever started it waits for this line."""
    model, device = labeller.choice.title, labeller.segmenter.device.type
    if as_json:
        say_json({"url": url, "model": model, "device": device, "version": labeller.version()})
    else:
        click.echo(f"{url}: {printable(model)} on {device}; /openapi.json says what it takes")
        if label_studio is None:
            click.echo("  no --label-studio: pictures are taken as uploads only")
    sys.stdout.flush()


def _run(app: "Starlette", listener: socket.socket) -> None:
    """Serve until a signal; then what is under way gets a few seconds."""
    import uvicorn

    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=3,
        lifespan="off",
        ws="none",
    )
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt as stop:  # the usual end of a server, not a run cut short
        sys.exit(exit_code_of(stop))


def _say(sentence: str) -> None:
    click.echo(f"note: {printable(sentence)}", err=True)
