"""Names that would act: on a terminal, in a spreadsheet, as markup."""

import csv
import io
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from maskmill.schemas.text import count_of, inert_cell, markdown_text, printable

ANY = st.text(st.characters(), max_size=30)


@pytest.mark.parametrize(
    ("number", "told"), [(0, "0 files"), (1, "1 file"), (2, "2 files"), (1_234, "1,234 files")]
)
def test_a_count_and_its_noun_agree(number: int, told: str):
    assert count_of(number, "file") == told
    assert count_of(number, "one is", "many are").endswith("one is" if number == 1 else "many are")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain name (1) ü 猫.jpg", "plain name (1) ü 猫.jpg"),
        ("\x1b[2Jgone.jpg", r"\x1b[2Jgone.jpg"),
        ("a\nmaskmill: all well\r", r"a\nmaskmill: all well\r"),
        ("\x9b31m\x7f\x00", r"\x9b31m\x7f\x00"),
        ("a\u202egpj.exe", r"a\u202egpj.exe"),
        ("half \ud800", r"half \ud800"),
        ("a\u2028b", r"a\u2028b"),
    ],
)
def test_what_a_terminal_would_act_on_is_written_out(name: str, shown: str):
    assert printable(name) == shown
    assert printable(f"{name}\nnext", lines=True).endswith("\nnext")


@given(ANY)
def test_nothing_printed_is_a_control_character(text: str):
    shown = printable(text)
    assert not {unicodedata.category(one) for one in shown} & {"Cc", "Cs", "Zl", "Zp"}
    assert shown.encode("utf-8").decode("utf-8") == shown


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", " =", "  @"])
def test_cells_that_would_be_computed_are_not(start: str):
    assert inert_cell(f"{start}1+1.jpg") == f"'{start}1+1.jpg"


def test_other_cells_stay():
    for text in ("", "a=b.jpg", "'=a", "1-2.jpg", "folder/-x.jpg"):
        assert inert_cell(text) == text


@given(ANY)
def test_a_cell_never_begins_a_formula(text: str):
    stream = io.StringIO()
    csv.writer(stream).writerow([inert_cell(text)])
    assert not inert_cell(text).strip(" ").startswith(("=", "+", "-", "@", "\t", "\r"))


@given(st.text(st.sampled_from("ab<>&|\\`*_[]{}~!#()\n\"'/:. -="), max_size=24))
def test_markdown_shows_just_the_text(name: str):
    """Read by another program: one cell, no markup in it, the same text."""
    page = f"| name |\n|---|\n| x{markdown_text(name)}x |\n"
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(page)
    cells = [token for token in tokens if token.type == "inline"]
    assert len(cells) == 2
    assert {child.type for child in cells[1].children} <= {"text", "text_special"}
    shown = "".join(child.content for child in cells[1].children)
    assert shown == f"x{printable(name)}x"
