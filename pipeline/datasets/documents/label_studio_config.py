"""Label Studio's labelling config: the classes of a project, under the names its regions use.

Facts: Label Studio's tags documentation.
"""

from typing import Final
from xml.sax.saxutils import quoteattr

from maskmill.pipeline.datasets.documents.xml import parse_xml
from maskmill.pipeline.datasets.trees import FileTree
from maskmill.schemas.errors import DocumentFailure, ErrorCode
from maskmill.schemas.labels import Color, LabelMap, labels_with_background

CONFIG: Final = "labeling_config.xml"
FROM_NAME: Final = "tag"
TO_NAME: Final = "image"
KINDS: Final = ("brushlabels", "polygonlabels")


def labeling_config(labels: LabelMap, kind: str) -> str:
    """The config whose names match the regions we write. ``kind`` is one of :data:`KINDS`."""
    tag = "BrushLabels" if kind == "brushlabels" else "PolygonLabels"
    entries = "".join(
        f"    <Label value={quoteattr(entry.name)} "
        f'background="#{entry.color[0]:02x}{entry.color[1]:02x}{entry.color[2]:02x}"/>\n'
        for entry in labels.classes
        if not entry.is_background
    )
    return (
        f'<View>\n  <Image name="{TO_NAME}" value="$image" zoom="true"/>\n'
        f'  <{tag} name="{FROM_NAME}" toName="{TO_NAME}">\n{entries}  </{tag}>\n</View>\n'
    )


def config_labels(tree: FileTree) -> LabelMap | None:
    """The classes of the config beside the tasks; None where there is none."""
    if tree.selected is None and CONFIG not in tree.names():
        return None
    try:
        return labels_of_config(tree.read(CONFIG), CONFIG)
    except DocumentFailure as failure:
        if failure.code is ErrorCode.VANISHED:
            return None
        raise


def labels_of_config(data: bytes, name: str) -> LabelMap:
    """The classes of a config, behind a background.

    Raises:
        DocumentFailure: it is not XML.
    """
    root = parse_xml(data, name)
    entries = [one for one in root.iter("Label") if one.get("value")]
    colors: dict[str, Color] = {}
    for one in entries:
        text = one.get("background") or ""
        if len(text) == 7 and text.startswith("#"):
            colors[str(one.get("value"))] = (
                int(text[1:3], 16),
                int(text[3:5], 16),
                int(text[5:7], 16),
            )
    return labels_with_background(
        "labels", [str(one.get("value")) for one in entries], colors=colors
    )
