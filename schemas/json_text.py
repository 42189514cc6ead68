"""JSON documents of others, read with care."""

import json
from typing import Any

from maskmill.schemas.errors import DocumentFailure, ErrorCode, SettingsError


def parse_json(data: bytes | str, name: str) -> Any:
    """A JSON document; bytes are UTF-8, with or without a byte order mark.

    Raises:
        DocumentFailure: MALFORMED; not UTF-8, not JSON, or nested too deeply.
    """
    try:
        return json.loads(data.decode("utf-8-sig") if isinstance(data, bytes) else data)
    except RecursionError as error:
        reason: object = "nested too deeply"
        cause: Exception = error
    except ValueError as error:
        reason, cause = error, error
    raise DocumentFailure(ErrorCode.MALFORMED, f"{name} is not valid JSON: {reason}") from cause


def told_json(data: bytes | str, name: str) -> Any:
    """As :func:`parse_json`, of a file that the user named in a setting.

    Raises:
        SettingsError: not UTF-8, not JSON, or nested too deeply.
    """
    try:
        return parse_json(data, name)
    except DocumentFailure as failure:
        raise SettingsError(str(failure)) from failure
