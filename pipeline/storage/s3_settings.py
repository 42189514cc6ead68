"""Where an S3 bucket is and who we are there: resolved once, by botocore, for every client.

botocore knows every place the AWS tools know: environment, ``AWS_PROFILE``, ``~/.aws`` with its
``endpoint_url``, SSO, processes, web identities, roles of containers and instances. Options of the
URI come before all of that. Credentials that expire are renewed by botocore while a run lasts.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, unquote

from maskmill.pipeline.storage.retries import Patience
from maskmill.schemas.errors import SettingsError

if TYPE_CHECKING:
    from botocore.credentials import Credentials
    from botocore.session import Session

OPTIONS: Final = (
    "region",
    "endpoint_override",
    "scheme",
    "anonymous",
    "force_virtual_addressing",
    "tls_verify_certificates",
    "request_timeout",
    "connect_timeout",
    "retry_seconds",
)
_TOKEN_LIFE: Final = timedelta(minutes=1)  # obstore then asks again, ten times a second at most
_ENVIRONMENT: Final = ("AWS_", "HOME")


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Settings:
    """All that a client of one bucket needs. Times in seconds.

    ``signer`` is None for requests without signature, to public buckets.
    """

    bucket: str
    region: str
    endpoint: str | None  # None: AWS's own
    signer: "Signer | None"
    virtual_addressing: bool = False
    verify_certificates: bool = True
    request_seconds: float = 25.0
    connect_seconds: float = 10.0
    patience: Patience = field(default_factory=Patience)


class Signer:
    """Gives clients the credentials of the moment; renewal is botocore's."""

    def __init__(self, credentials: "Credentials") -> None:
        self._credentials = credentials

    def __call__(self) -> dict[str, Any]:
        """What obstore asks for; raises what botocore raises when it cannot renew."""
        frozen = self._credentials.get_frozen_credentials()
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token or None,
            "expires_at": datetime.now(timezone.utc) + _TOKEN_LIFE,
        }


def s3_settings(authority: str, options: str) -> S3Settings:
    """The settings of ``s3://[KEY:SECRET@]bucket?options``.

    Raises:
        SettingsError: no bucket, an unknown option or value, a profile that does not exist, or
            credentials that cannot be had.
    """
    user, _, bucket = authority.rpartition("@")
    if not bucket:
        raise SettingsError("s3:// names no bucket; give a URI such as s3://bucket/folder")
    asked = _options(bucket, options)
    times, verify = _times(asked), _flag(asked, "tls_verify_certificates", default=True)
    session = _session(_environment())
    try:
        signer = None if _flag(asked, "anonymous") else _signer(session, user)
        endpoint = _endpoint(session, asked)
        region = _region(session, asked, bucket, endpoint)
        virtual = _is_virtual(session, asked)
    except Exception as error:
        raise _unresolved(bucket, error) from error
    return S3Settings(
        bucket=bucket,
        region=region,
        endpoint=endpoint,
        signer=signer,
        virtual_addressing=virtual,
        verify_certificates=verify,
        **times,
    )


def environment_key() -> int:
    """Changes whenever the environment that decides credentials does."""
    return hash(_environment())


def _environment() -> tuple[tuple[str, str], ...]:
    return tuple(sorted(item for item in os.environ.items() if item[0].startswith(_ENVIRONMENT)))


@lru_cache(maxsize=8)
def _session(environment: tuple[tuple[str, str], ...]) -> "Session":
    from botocore.session import Session  # 0.2 s, for S3 only

    return Session()


def _signer(session: "Session", user: str) -> Signer | None:
    if user:
        from botocore.credentials import Credentials

        key, _, secret = user.partition(":")
        return Signer(Credentials(unquote(key), unquote(secret)))
    credentials = session.get_credentials()
    if credentials is None:  # nobody in particular: public buckets
        return None
    credentials.get_frozen_credentials()  # a role or login that cannot be had says so now
    return Signer(credentials)


def _endpoint(session: "Session", asked: Mapping[str, str]) -> str | None:
    override = asked.get("endpoint_override")
    if override:
        return override if "://" in override else f"{asked.get('scheme', 'https')}://{override}"
    if session.get_config_variable("ignore_configured_endpoint_urls"):
        return None
    from botocore.configprovider import ConfiguredEndpointProvider

    configured = ConfiguredEndpointProvider(
        full_config=session.full_config,
        scoped_config=session.get_scoped_config(),
        client_name="s3",
    ).provide()
    return None if configured is None else str(configured)


def _region(session: "Session", asked: Mapping[str, str], bucket: str, endpoint: str | None) -> str:
    if "region" in asked:
        return asked["region"]
    configured = os.environ.get("AWS_REGION") or session.get_config_variable("region")
    if endpoint is None:  # AWS itself: a bucket lives in one region, whatever is configured
        from pyarrow import fs

        try:
            return str(fs.resolve_s3_region(bucket))
        except OSError:
            pass  # unknown bucket or no way there: the first request will say it better
    return str(configured or "us-east-1")


def _is_virtual(session: "Session", asked: Mapping[str, str]) -> bool:
    styles = session.get_scoped_config().get("s3")
    configured = isinstance(styles, dict) and styles.get("addressing_style") == "virtual"
    return _flag(asked, "force_virtual_addressing", default=configured)


def _times(asked: Mapping[str, str]) -> dict[str, Any]:
    times: dict[str, Any] = {}
    for option, name in (
        ("request_timeout", "request_seconds"),
        ("connect_timeout", "connect_seconds"),
    ):
        if option in asked:
            times[name] = _seconds(asked, option)
    if "retry_seconds" in asked:
        times["patience"] = Patience(seconds=_seconds(asked, "retry_seconds"))
    return times


def _options(bucket: str, options: str) -> dict[str, str]:
    asked = dict(parse_qsl(options, keep_blank_values=True))
    unknown = [name for name in asked if name not in OPTIONS]
    if unknown:
        raise SettingsError(
            f"s3://{bucket}: there is no option {unknown[0]!r}; the options are "
            f"{', '.join(OPTIONS)}, as in s3://bucket/folder?region=eu-central-1"
        )
    return asked


def _flag(asked: Mapping[str, str], name: str, *, default: bool = False) -> bool:
    text = asked.get(name)
    if text is None:
        return default
    if text.lower() not in ("true", "false", "1", "0"):
        raise SettingsError(f"the option {name}={text} of an S3 URI is true or false")
    return text.lower() in ("true", "1")


def _seconds(asked: Mapping[str, str], name: str) -> float:
    try:
        seconds = float(asked[name])
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 86_400:
        raise SettingsError(f"the option {name}={asked[name]} of an S3 URI is a number of seconds")
    return seconds


def _unresolved(bucket: str, error: Exception) -> SettingsError:
    if isinstance(error, SettingsError):
        return error
    from botocore.exceptions import BotoCoreError

    if not isinstance(error, BotoCoreError):
        raise error
    return SettingsError(
        f"s3://{bucket}: no credentials or settings to use: {error}; check AWS_PROFILE and the "
        "files in ~/.aws, or sign in again"
    )
