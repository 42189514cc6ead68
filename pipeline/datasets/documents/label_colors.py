"""``label_colors.txt`` of CamVid and datumaro written: ``R G B name`` per line."""

from maskmill.schemas.errors import SettingsError
from maskmill.schemas.labels import LabelMap


def labels_to_text(labels: LabelMap) -> str:
    """The file, with blanks in names as underscores: the parsers in use split at blanks.

    Raises:
        SettingsError: two classes of one name then.
    """
    names = [name.replace(" ", "_") for name in labels.names]
    if len(set(names)) < len(names):
        raise SettingsError(
            "label_colors.txt cannot hold blanks in class names, and without them two classes "
            "have one name; rename one with --map"
        )
    return "".join(
        f"{entry.color[0]} {entry.color[1]} {entry.color[2]} {name}\n"
        for entry, name in zip(labels.classes, names, strict=True)
    )
