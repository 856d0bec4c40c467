"""Values of each VR, compared with pydicom's own checks, and numbers that read like text."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.tag import Tag
from pydicom.valuerep import MAX_VALUE_LEN, validate_value

from covid_monai.deidentify.values import (
    _may_hold_runs,
    _runs,
    count_values,
    encode_numbers,
    is_value_of,
    most_values,
    number_reads_like_text,
    reads_like_text,
)

LIKELY = st.text("0123456789+-.eE AZ_z^", max_size=18)


def valid_by_pydicom(vr, value):
    try:
        validate_value(vr, value, 2)  # RAISE
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("vr", ["CS", "DS", "IS"])
@given(value=LIKELY)
def test_a_value_is_valid_where_pydicom_says_so(vr, value):
    value = value.strip()
    if vr == "DS":
        value = value[: MAX_VALUE_LEN[vr]]  # longer numbers are rounded, not removed
    assert is_value_of(vr, value.encode()) == (valid_by_pydicom(vr, value) or not value)


@pytest.mark.parametrize(
    ("vr", "content", "valid"),
    [
        ("DS", b"1.5\\-2e3\\ ", True),
        ("DS", b"1.5\\Doe", False),
        ("IS", b"1234567890123", False),
        ("LO", "\u0413\u0440\u0443\u0434\u044c".encode(), True),
        ("LO", b"x" * 65, False),
        ("SH", b"Doe\0Jane", False),
        ("US", b"123", False),
        ("OB", b"Doe", False),
        ("", b"Doe", False),
    ],
)
def test_characters_and_lengths(vr, content, valid):
    assert is_value_of(vr, content) is valid


def test_values_are_counted_also_where_a_backslash_is_a_part_of_a_character():
    assert count_values("DS", b"1\\2\\3") == 3
    assert count_values("DS", b" ") == 0
    assert count_values("US", bytes(8)) == 4
    assert count_values("LO", "\u8a98".encode("gb18030")) == 1
    assert count_values("LO", b"\x1b$B\x5c\x5c\x1b(B") == 1


@pytest.mark.parametrize(
    ("keyword", "most"), [("Rows", 1), ("PixelSpacing", 2), ("ImageType", np.inf), ("ExposedArea", 2)]
)
def test_the_largest_number_of_values(keyword, most):
    assert most_values(Tag(keyword)) == most


@pytest.mark.parametrize("name", ["Anna", "JOHN", "Zamenhof^Ludwik", "M\u00fcller^J\u00f6rg", "19591215"])
@pytest.mark.parametrize("code", ["latin-1", "utf-16-le", "utf-16-be"])
def test_names_in_numbers_are_found(name, code):
    assert number_reads_like_text(name.encode(code))


@pytest.mark.parametrize("name", ["\u041b\u044e\u0434\u0432\u0438\u043a", "\u5c71\u7530\u592a\u90ce"])
def test_names_in_other_scripts_are_found(name):
    assert number_reads_like_text(name.encode())


@pytest.mark.parametrize(
    ("vr", "values"),
    [
        ("FD", [0.1, 0.2, 1 / 3, 0.6, 1.7, 2.8, -5e-324]),
        ("FL", [0.143, 100.0, 1 / 3]),
        ("US", [512, 512, 0, 128]),
        ("US", list(range(1, 200))),
        ("UL", [0, 4095, 65536]),
        ("AT", [0x00181063]),
    ],
)
def test_numbers_are_no_text(vr, values):
    assert not number_reads_like_text(encode_numbers(vr, values))


@pytest.mark.parametrize("order", "<>")
def test_a_rising_table_is_no_text_and_a_word_in_it_is(order):
    table = (np.linspace(0, 65535, 4096)).astype(f"{order}u2").tobytes()
    assert not reads_like_text(table, shortest=6, turns=3)
    assert not reads_like_text(table[::-1], shortest=6, turns=3)
    assert reads_like_text(table[:2000] + b"Zamenhof" + table[2000:], shortest=6, turns=3)


@given(
    pieces=st.lists(
        st.sampled_from([b"Zam", b"\0", b"e\0", b"\0e", b"\xfc", b"\xd0\x9b", b"\xe5\xb1\xb1", b"\x90"])
    ),
    latin=st.booleans(),
)
def test_the_quick_look_passes_over_no_run(pieces, latin):
    content = b"".join(pieces)
    if _runs(6, latin).search(content):
        assert _may_hold_runs(content, 6, latin)
