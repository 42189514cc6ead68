"""LAYOUTS: the state dicts that other DeepLab projects write, and the names their parts have here.

A layout is told by key prefixes that only it has; the first in the dict whose prefixes are all
there is taken. Renaming is by prefix; what no rule names is refused by weights.foreign_state.
"""

from typing import Final

from maskmill.pipeline.models.weights.framework_layouts import FRAMEWORK_LAYOUTS
from maskmill.pipeline.models.weights.layout_rules import ForeignLayout
from maskmill.pipeline.models.weights.repository_layouts import REPOSITORY_LAYOUTS

LAYOUTS: Final[dict[str, ForeignLayout]] = {**FRAMEWORK_LAYOUTS, **REPOSITORY_LAYOUTS}
