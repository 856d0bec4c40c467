"""Files appear whole or not at all."""

import os

import pytest

from covid_monai.core.atomic_files import replace_atomically, write_text_atomically


def test_a_file_has_its_name_behind_the_block_and_the_old_content_before(tmp_path):
    path = tmp_path / "new" / "file.txt"
    for words in ("one", "two"):
        before = path.read_text() if path.exists() else None
        with replace_atomically(path) as temporary:
            assert temporary.parent == path.parent
            temporary.write_text(words)
            assert (path.read_text() if path.exists() else None) == before
        assert path.read_text() == words
    assert [each.name for each in path.parent.iterdir()] == ["file.txt"]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def interrupted():
        with replace_atomically(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with pytest.raises(FileNotFoundError), replace_atomically(path):
        pass  # nothing was written
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["file.txt"]


def test_text_is_utf_8_with_the_line_ends_and_the_odd_bytes_that_it_has(tmp_path):
    write_text_atomically(tmp_path / "a", "é\r\n王\n" + os.fsdecode(b"\xff"))
    assert (tmp_path / "a").read_bytes() == "é\r\n王\n".encode() + b"\xff"
