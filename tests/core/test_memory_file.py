"""Bytes as a file: a path that ends with the block, and nothing on a disk."""

from hypothesis import given
from hypothesis import strategies as st

from covid_monai.core.memory_file import memory_file


@given(st.binary(max_size=5000))
def test_bytes_have_a_path_and_no_disk(content):
    with memory_file(content) as path:
        assert path.read_bytes() == path.read_bytes() == content
        assert str(path.readlink()).startswith("/memfd:")
    assert not path.is_symlink()  # closed, so the memory is free again
