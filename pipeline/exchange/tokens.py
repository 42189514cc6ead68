"""Where a token is: an environment variable or a file. Its words stand nowhere else."""

import os
from dataclasses import dataclass
from pathlib import Path

from maskmill.schemas.errors import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPlace:
    """The place of a token, which may be pickled, printed and kept; the token may not.

    ``file`` is used where it is given, else the environment variable ``variable``.
    """

    variable: str
    file: str | None = None

    def read(self) -> str:
        """The token.

        Raises:
            SettingsError: there is none, or it is more than one line of visible ASCII.
        """
        if self.file is not None:
            token, place = self._of_file(self.file), self.file
        else:
            token, place = os.environ.get(self.variable, "").strip(), f"${self.variable}"
        if not token:
            raise SettingsError(
                f"{place} holds no token; put the token of your account there, or name its file "
                "with --token-file (a token on the command line could be read by everyone on the "
                "machine, so there is no option for that)"
            )
        if not (token.isascii() and token.isprintable()) or " " in token:
            raise SettingsError(f"{place} holds something else than one token: one line, no blanks")
        return token

    @staticmethod
    def _of_file(path: str) -> str:
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not text in UTF-8"
            raise SettingsError(f"cannot read the token file {path}: {reason}") from error
