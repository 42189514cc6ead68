"""DatasetFormat: everything there is to know of one layout, beside its reader and writer."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from maskmill.pipeline.datasets.samples import DatasetReader, DatasetWriter
from maskmill.pipeline.datasets.trees import FileTree
from maskmill.schemas.errors import SettingsError

Recogniser = Callable[[FileTree], str | None]
"""What lies in a tree -> why it is of this format, None where it is not. Reads little: names, and
the beginning of a document or two; a tree that two formats would claim is one format's only."""

Validator = Callable[[FileTree], Iterator[str]]
"""A written dataset -> a sentence for everything its importing program would refuse."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetFormat:
    """One layout; ``name`` and ``summary`` are those of its line in DATASET_FORMATS.

    ``exact``: every class pixel comes back as it was (with ``max_loss`` 0 where ``polygons`` are
    drawn); ``holds_ignore``: ignore pixels come back as ignore; ``needs_images``: reading needs
    the pictures, for their sizes; ``takes_images``: the output holds the pictures;
    ``max_classes`` counts background; ``recogniser``: how ``auto`` knows it; ``validator``: the
    rules of its importer; ``checker``: a reader that decodes with the program of others named in
    ``checker_name``, for --check; ``import_command``: what stands before a document (of
    ``package_suffix``) to hand it to its program; ``mask_format``: a folder of masks in that
    format of MASK_FORMATS; ``pairs_by_name``: pictures are found by the names of the masks, and
    ``--mask-suffix`` says how; ``bare_shapes``: its documents may hold boxes or key points alone.
    """

    name: str = ""
    summary: str = ""
    reader: DatasetReader | None = None
    writer: DatasetWriter | None = None
    exact: bool = True
    holds_ignore: bool = False
    needs_images: bool = False
    takes_images: bool = False
    polygons: bool = False
    max_classes: int = 65535
    recogniser: Recogniser | None = None
    validator: Validator | None = None
    checker: DatasetReader | None = None
    checker_name: str = ""
    import_command: str = ""
    package_suffix: str = ""
    mask_format: str | None = None
    pairs_by_name: bool = False
    bare_shapes: bool = False

    @property
    def checked_by(self) -> str:
        """Whose decoders --check uses."""
        if self.checker:
            return self.checker_name
        return "own reader, drawn by pycocotools" if self.polygons else "own reader"

    @property
    def can_read(self) -> bool:
        """True for a choice of ``--from``."""
        return self.reader is not None

    @property
    def can_write(self) -> bool:
        """True for a choice of ``--to``."""
        return self.writer is not None

    def load_reader(self) -> DatasetReader:
        """The reader.

        Raises:
            SettingsError: the format is only written.
        """
        if self.reader is None:
            raise SettingsError(f"{self.name} cannot be read; it is a choice of --to only")
        return self.reader

    def load_writer(self) -> DatasetWriter:
        """The writer.

        Raises:
            SettingsError: the format is only read.
        """
        if self.writer is None:
            raise SettingsError(f"{self.name} cannot be written; it is a choice of --from only")
        return self.writer

    def load_checker(self) -> DatasetReader:
        """The reader for --check."""
        return self.checker or self.load_reader()

    def problems(self, tree: FileTree) -> Iterator[str]:
        """What the importing program would refuse in a written dataset, if that is known here."""
        return iter(()) if self.validator is None else self.validator(tree)
