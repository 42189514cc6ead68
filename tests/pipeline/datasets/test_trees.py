"""Trees of files with names that not everything can hold."""

import os
import sys

import pytest

from maskmill.pipeline.datasets.trees import open_tree
from maskmill.schemas.errors import SettingsError


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
@pytest.mark.parametrize("asked", ["tops", "names", "hidden"])
def test_names_that_are_not_utf_8_are_refused_in_words(tmp_path, asked):
    (tmp_path / "cafe.png").touch()
    (tmp_path / os.fsdecode(b"caf\xe9.png")).touch()
    with pytest.raises(SettingsError, match=r"caf\\xe9\.png is not UTF-8; rename the file"):
        getattr(open_tree(str(tmp_path)), asked)()
