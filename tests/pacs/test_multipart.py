"""Multipart reader: the content comes out unchanged, and an incomplete body is an error."""

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pacs_helpers import MULTIPART, in_pieces, multipart_body

from covid_monai.pacs.multipart import MalformedMultipart, MultipartReader, write_first_part


@given(st.binary(max_size=3000), st.integers(1, 700))
def test_the_content_of_the_part_is_unchanged_however_the_body_is_cut(content, size):
    file = BytesIO()
    write_first_part(in_pieces(multipart_body(content), size), MULTIPART, file)
    assert file.getvalue() == content


@given(st.binary(min_size=1, max_size=3000), st.data())
def test_an_incomplete_body_is_an_error(content, data):
    body = multipart_body(content.replace(b"-", b"+"))
    cut = data.draw(st.integers(0, len(body) - len(b"\r\n--xyz--\r\n")))
    with pytest.raises(MalformedMultipart):
        write_first_part([body[:cut]], MULTIPART, BytesIO())


def test_a_dicom_object_without_multipart_is_accepted_and_a_web_page_is_not():
    file = BytesIO()
    write_first_part([b"ab", b"c"], "application/dicom", file)
    assert file.getvalue() == b"abc"
    with pytest.raises(MalformedMultipart):
        write_first_part([b"<html>"], "text/html", BytesIO())


END = b"\r\n--xyz--\r\n"


@given(st.integers(1, 100))
def test_a_preamble_and_a_second_part_are_ignored(size):
    file = BytesIO()
    second = b"\r\n--xyz\r\n\r\nsecond\r\n--xyz--"
    body = b"This is a message - of two parts.\r\n" + multipart_body(b"first").removesuffix(
        b"\r\n--xyz--\r\n"
    )
    write_first_part(in_pieces(body + second, size), MULTIPART, file)
    assert file.getvalue() == b"first"


@pytest.mark.parametrize(
    "body",
    [
        b"--xyz--",
        b"no delimiter at all" * 10_000,
        b"--xyz\r\nno header\r\n\r\n--xyz--",
        b"--xyz\r\nA: " + b"a" * 10_000 + b"\r\n\r\n\r\n--xyz--",
    ],
)
def test_a_body_without_a_part_is_an_error(body):
    with pytest.raises(MalformedMultipart):
        write_first_part([body], MULTIPART, BytesIO())


@pytest.mark.parametrize(
    "content_type",
    ["multipart/related", 'multipart/related; boundary=""', f"multipart/a; boundary={'x' * 999}"],
)
def test_a_content_type_without_a_usable_boundary_is_an_error(content_type):
    with pytest.raises(MalformedMultipart, match="boundary"):
        MultipartReader(content_type, lambda _: len)
