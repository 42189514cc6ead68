"""What the commands that speak to an annotators' server share: its address, token and patience."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from maskmill.jobs.options import with_options

if TYPE_CHECKING:
    from maskmill.pipeline.exchange.cvat import Cvat
    from maskmill.pipeline.exchange.label_studio import LabelStudio

TIMEOUT_SECONDS = 120.0


def server_options(variable: str) -> Callable[[Any], Any]:
    """--url, --token-file and --timeout; ``variable`` is where a token is looked for."""
    return with_options(
        click.option("--url", required=True, metavar="URL", help="The server: https://host."),
        click.option(
            "--token-file",
            metavar="FILE",
            help=f"A file with the token of your account.  [default: ${variable}]",
        ),
        click.option(
            "--timeout",
            type=click.FloatRange(1),
            default=TIMEOUT_SECONDS,
            show_default=True,
            metavar="SECONDS",
            help="How long one answer may take.",
        ),
    )


def studio_of(options: dict[str, Any]) -> "LabelStudio":
    """Label Studio as the options have it; they are taken out."""
    from maskmill.pipeline.exchange.label_studio import TOKEN_VARIABLE, LabelStudio, token_header
    from maskmill.pipeline.exchange.server import AnnotationServer, server_url
    from maskmill.pipeline.exchange.tokens import TokenPlace

    place = TokenPlace(variable=TOKEN_VARIABLE, file=options.pop("token_file"))
    place.read()  # a token that is not there is said before anything is looked through
    server = AnnotationServer(
        url=server_url(options.pop("url")),
        authorization=token_header(place),
        seconds=options.pop("timeout"),
    )
    return LabelStudio(server)


def cvat_of(options: dict[str, Any]) -> "Cvat":
    """CVAT as the options have it; they are taken out."""
    from maskmill.pipeline.exchange.cvat import TOKEN_VARIABLE, Cvat
    from maskmill.pipeline.exchange.server import server_url
    from maskmill.pipeline.exchange.tokens import TokenPlace

    place = TokenPlace(variable=TOKEN_VARIABLE, file=options.pop("token_file"))
    place.read()
    return Cvat(url=server_url(options.pop("url")), token=place, seconds=options.pop("timeout"))
