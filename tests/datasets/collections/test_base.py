"""What every collection uses: roots, tables, and words for classes, views, sexes and ages."""

import pytest
from dataset_helpers import touch
from hypothesis import given
from hypothesis import strategies as st

from covid_monai.datasets.collections import SOURCES
from covid_monai.datasets.collections.base import (
    known_patient,
    known_text,
    read_table,
    to_age,
    to_class_name,
    to_sex,
    to_view,
)


@pytest.mark.parametrize("name", SOURCES)
def test_wrong_root_names_what_was_expected_and_what_is_there(tmp_path, name):
    touch(tmp_path, "holiday.mp4")
    with pytest.raises(FileNotFoundError, match=r"expected .*; found .*holiday\.mp4") as caught:
        list(SOURCES[name].records(tmp_path))
    assert str(tmp_path) in str(caught.value)
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist\. Name"):
        list(SOURCES[name].records(tmp_path / "nowhere"))


@given(st.text(max_size=20))
def test_words_of_any_table_are_read_or_left_unknown(text):
    assert to_sex(text) in ("M", "F", None)
    age = to_age(text)
    assert age is None or 0 <= age <= 120
    assert to_view(text) == to_view(to_view(text) or "")
    assert to_class_name(to_class_name(text)) == to_class_name(text)


@given(st.integers(0, 120), st.sampled_from("YMWD"))
def test_dicom_ages_in_years(count, unit):
    days = {"Y": 365.25, "M": 365.25 / 12, "W": 7, "D": 1}[unit]
    assert to_age(f"{count:03}{unit}") == pytest.approx(count * days / 365.25, abs=0.006)


ROWS = [{"image": "a.png", "label": "covid"}, {"image": "b ü.png", "label": "normal"}]
PLAIN = "image,label\na.png,covid\nb ü.png,normal\n"


@pytest.mark.parametrize(
    "content",
    [
        PLAIN.encode(),
        PLAIN.encode("utf-8-sig"),
        PLAIN.encode("utf-16"),
        b"\xfe\xff" + PLAIN.encode("utf-16-be"),
        PLAIN.replace(",", ";").encode(),
        PLAIN.replace(",", "\t").encode(),
        PLAIN.replace(",", ";").encode("utf-16"),
        PLAIN.replace("\n", "\r\n").encode(),
        PLAIN.replace("\n", "\r").encode(),
        PLAIN.rstrip("\n").encode(),
        PLAIN.replace("\n", "\n\n").encode(),
        PLAIN.replace("\n", " \n").replace(",", " , ").encode(),
        PLAIN.replace("\n", ",\n").encode() + b",,\n  \n",
        PLAIN.encode() + b"image,label\n",
        b'image,label\n"a.png",covid\n"b \xc3\xbc.png","normal"\n',
    ],
)
def test_a_table_is_read_as_programs_write_it(tmp_path, content):
    (tmp_path / "t.csv").write_bytes(content)
    assert read_table(tmp_path / "t.csv", columns=("image", "label")) == ROWS


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"t\.csv: expected the columns image, label; found none"),
        (b"\n\n", r"t\.csv: expected the columns image, label; found none"),
        (b"image\na.png\n", r"t\.csv: expected the column label; found image"),
        (b"image,label\n\n", r"t\.csv: the table has no row below its header"),
        (b"a.png,covid\n", r"t\.csv: expected the columns image, label; found a\.png, covid"),
        (b"image,label,label\na.png,covid,normal\n", r"t\.csv: the column label occurs twice"),
        (b"image,label\na.png,covid\nb,c.png,normal\n", r"t\.csv, line 3: expected 2 cells, found 3"),
        (b"image,label\na.png,covid\n\x00.png,covid\n", r"t\.csv, line 3: the table has a NUL byte"),
        (b"image,label\n" + b"\x00" * 512, r"t\.csv, line 2: the table has a NUL byte"),
        (PLAIN.encode("utf-16-le"), r"t\.csv, line \d: "),
        (PLAIN.encode("latin-1"), r"t\.csv, line 3: the text is not UTF-8"),
        (PLAIN.encode("utf-16")[:-1], r"t\.csv, line \d: the text is not UTF-8"),
        (
            b'image,label\na.png,"covid\nb.png,normal\n',
            r"t\.csv, line \d: the quotes or line ends are damaged",
        ),
        (b'image,label\n"a"b.png,covid\n', r"t\.csv, line 2: the quotes or line ends are damaged"),
    ],
)
def test_a_table_that_cannot_be_read_is_named_with_the_line(tmp_path, content, message):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_table(tmp_path / "t.csv", columns=("image", "label"))


def test_short_lines_have_empty_cells(tmp_path):
    (tmp_path / "t.csv").write_text("image,label,age\na.png\n")
    assert read_table(tmp_path / "t.csv") == [{"image": "a.png", "label": "", "age": ""}]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0, "0"),
        (12.0, "12"),
        (1.5, "1.5"),
        (False, "False"),
        ("0", "0"),
        (" a ", "a"),
        (None, None),
        ("", None),
        (" ", None),
        (float("nan"), None),
        ("NaN", None),
        ("n/a", None),
    ],
)
def test_a_value_that_counts_as_false_is_a_value(value, text):
    assert known_text(value) == known_patient(value) == text
    assert known_patient("ANONYMOUS") is None
    assert known_text("ANONYMOUS") == "ANONYMOUS"
