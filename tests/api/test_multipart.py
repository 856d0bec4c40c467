"""Multipart bodies, however they are cut, and bodies that are none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from urllib3.filepost import encode_multipart_formdata

from covid_monai.api.multipart import MultipartFiles
from covid_monai.api.problems import ProblemError
from covid_monai.api.uploads import MIB, Limits

LIMITS = Limits(4 * MIB, max_files=5, max_total_bytes=6 * MIB, max_held_bytes=10 * MIB)


@given(
    st.lists(
        st.tuples(st.text(st.characters(codec="utf-8"), max_size=20), st.binary(max_size=300)),
        min_size=1,
        max_size=5,
    ),
    st.integers(1, 200),
)
def test_multipart_comes_apart_as_it_was_put_together_however_it_is_cut(parts, size):
    body, kind = encode_multipart_formdata([("files", part) for part in parts])
    files = MultipartFiles(kind, LIMITS)
    for start in range(0, len(body), size):
        files.write(body[start : start + size])
    assert [upload.data for upload in files.uploads()] == [content for _, content in parts]


@given(st.binary(max_size=500))
def test_no_bytes_make_the_multipart_parser_fail_in_another_way(body):
    files = MultipartFiles("multipart/form-data; boundary=x", LIMITS)

    def read():
        files.write(b"--x\r\n" + body)
        return files.uploads()

    with pytest.raises(ProblemError):
        read()
