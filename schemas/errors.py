"""Everything that can go wrong and be said plainly. Anything else is a bug and stays loud.

MaskmillError                    a sentence for the user; ``exit_code`` says how the command ends
├── SettingsError                the command asks for something that cannot be (exit 2)
│   └── RunRefused               OUT belongs to a different run, or another run holds it (exit 2)
├── RunFailed                    the run itself broke (exit 1)
│   ├── ServerFailed             a server of others failed or refused; the same command continues
│   └── DeviceLost               a GPU answers its process no more; another process may go on
├── ModelError                   weights missing, unfetchable, or not fitting (exit 1)
│   └── WeightsRefused           weights that would run code, or with the wrong hash (exit 1)
└── FileFailure                  one file is bad; becomes a failed row, the run goes on
    ├── ImageFailure             an input picture
    ├── MaskFailure              a mask
    ├── ArchiveFailure           a zip or tar with an unsafe or broken member
    └── DocumentFailure          a JSON, XML or text file of annotations
"""

from enum import Enum


class ErrorCode(str, Enum):
    """The vocabulary of every ``error_code`` column. Values are stable: people filter on them."""

    EMPTY_FILE = "empty_file"
    NOT_AN_IMAGE = "not_an_image"
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    TOO_MANY_PIXELS = "too_many_pixels"
    PERMISSION_DENIED = "permission_denied"
    VANISHED = "vanished"
    UNREADABLE = "unreadable"
    WORKER_DIED = "worker_died"
    OUT_OF_MEMORY = "out_of_memory"
    NOT_FINITE = "not_finite"
    UNKNOWN_COLOR = "unknown_color"
    UNKNOWN_VALUE = "unknown_value"
    UNKNOWN_CLASS = "unknown_class"
    LOSSY_MASK = "lossy_mask"
    WRONG_MODE = "wrong_mode"
    SIZE_MISMATCH = "size_mismatch"
    ORIENTATION_MISMATCH = "orientation_mismatch"
    MISSING_PREDICTION = "missing_prediction"
    MISSING_TRUTH = "missing_truth"
    AMBIGUOUS_PAIR = "ambiguous_pair"
    MISSING_IMAGE = "missing_image"
    MALFORMED = "malformed"
    UNSAFE_PATH = "unsafe_path"
    UNSAFE_LINK = "unsafe_link"
    UNSAFE_SIZE = "unsafe_size"
    UNSAFE_XML = "unsafe_xml"
    CANNOT_HOLD = "cannot_hold"
    NOT_TAKEN = "not_taken"


class MaskmillError(Exception):
    """A failure with a sentence that names the thing, the value and the remedy."""

    exit_code = 1


class SettingsError(MaskmillError):
    """The command asks for something that cannot be."""

    exit_code = 2


class RunRefused(SettingsError):
    """The output folder belongs to a different run, or another run is writing to it."""


class RunFailed(MaskmillError):
    """The run broke; what is committed stays committed."""


class ServerFailed(RunFailed):
    """A server of others failed, refused or was gone; what it took stays, and can be continued."""


class DeviceLost(RunFailed):
    """A GPU answers this process no more; whatever comes next needs another process."""


class ModelError(MaskmillError):
    """Weights are missing, cannot be fetched, or do not fit the network."""


class WeightsRefused(ModelError):
    """Weights that would run code when loaded, or whose hash is not the expected one."""


class FileFailure(MaskmillError):
    """One file is bad. ``code`` goes to ``error_code``, ``str()`` to ``error_message``."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[type["FileFailure"], tuple[ErrorCode, str]]:
        return type(self), (self.code, str(self))


class ImageFailure(FileFailure):
    """An input picture that cannot be used."""


class MaskFailure(FileFailure):
    """A mask that cannot be read as class indices, or cannot be written in a format."""


class ArchiveFailure(FileFailure):
    """An archive with an unsafe or broken member."""


class DocumentFailure(FileFailure):
    """An annotation document that does not follow its format, or is unsafe to parse."""
