"""No cell of a table is a formula to a spreadsheet, and our own reader finds every text unchanged."""

import csv
import io
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from covid_monai.core.tables import quote_cell, read_rows, table_writer, unquote_cell, write_table

# Also the wide, small, raised and lowered forms, and the minus sign of mathematics.
SIGNS = "=+-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b\u207c\u207a\u207b\u208c\u208a\u208b\u2212"
INVISIBLE = [*" \t\r\n\0\x0b\x1b\x1c\x85\xa0\xad", *"\ufeff\u200b\u2028\u202e\u2060\u3000\ufe0f"]
SPLITTING = ["a;", 'a";', "a\t", "a\n", "a\r", "a\r\n", "a; ", 'a;"', "a;'"]
BEFORE = ["", "   ", *INVISIBLE, *"\"|'", "' ", *SPLITTING]
TEXTS = st.one_of(
    st.text(st.characters(codec="utf-8")),
    st.text(st.sampled_from("'=+-@;,\t\r\n \"a1\ufeff\u200b\uff1d")),  # two texts could be written alike
)


def is_formula(cell: str) -> bool:
    """Tell whether a spreadsheet could calculate: the first sign that it shows is a sign of a formula."""
    shown = (c for c in cell if not c.isspace() and unicodedata.category(c)[0] not in "CM")
    first = unicodedata.normalize("NFKC", next(shown, ""))
    return first.startswith(tuple("=+-@\u2212|")) or cell[:1] in ("\t", "\r", "\n")


def written(*cells: object) -> str:
    file = io.StringIO(newline="")
    table_writer(file)(cells)
    return file.getvalue()


def cells_seen(text: str) -> list[str]:
    """Return the cells that spreadsheets of several languages find, and a reader that knows no quotes."""
    found = []
    for delimiter in ",;\t":
        found += [c for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) for c in row]
    found += [cell.removeprefix('"') for line in text.splitlines() for cell in line.split(";")]
    return found


@pytest.mark.parametrize("before", BEFORE, ids=ascii)
def test_no_attack_is_a_formula_in_any_language_of_a_spreadsheet(before):
    for sign in SIGNS:
        text = written("image.dcm", f"{before}{sign}cmd|' /C calc'!A0", 0.5, "end")
        assert not [cell for cell in cells_seen(text) if is_formula(cell)]
        found = pd.read_csv(io.StringIO(text, newline=""), header=None, keep_default_na=False)
        assert not is_formula(found[1][0])


@given(TEXTS)
@example("'=1").via("an apostrophe that was there before")
@example("''=1")
@example("' '=1")
@example("a;'=1")
def test_every_text_is_written_without_a_formula_and_read_back(text):
    assert unquote_cell(str(quote_cell(text))) == text
    table = written("first", text, "last")
    assert not [cell for cell in cells_seen(table) if is_formula(cell)]
    ((_, cells),) = read_rows(io.StringIO(table, newline=""), path=Path("t.csv"))
    assert cells == ["first", text, "last"]


@given(TEXTS, TEXTS)
def test_two_texts_are_never_written_alike(one, other):
    assert (quote_cell(one) == quote_cell(other)) == (one == other)


def test_numbers_stay_numbers_and_plain_text_stays_as_it_is():
    numbers = [-0.5, np.float32(-0.5), np.int64(-3), -1, 1e-7, None]
    assert [quote_cell(value) for value in numbers] == numbers
    found = pd.read_csv(io.StringIO(written(*numbers[:5])), header=None)
    assert (found.to_numpy() < 1).all()
    for plain in (
        "normal",
        "a-b=c",
        "/data/x y.dcm",
        "p_covid",
        "1.2.3",
        "(none)",
        "'quoted'",
        "Ünïcode",
        "a, b",
    ):
        assert quote_cell(plain) == plain


def test_spaces_are_stripped_outside_of_what_was_quoted(tmp_path):
    write_table(tmp_path / "t.csv", ("image", "label"), [(" =x.png", "covid")])
    with (tmp_path / "t.csv").open(newline="") as file:
        assert [cells for _, cells in read_rows(file, path=tmp_path, strip=True)][1] == [" =x.png", "covid"]


def test_no_other_module_writes_or_reads_tables():
    package = Path(__file__).parents[2] / "covid_monai"
    words = ("import csv\n", "from csv ", "savetxt")
    assert [p.name for p in package.rglob("*.py") if any(w in p.read_text() for w in words)] == ["tables.py"]
