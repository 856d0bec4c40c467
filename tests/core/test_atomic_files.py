"""Files appear whole or not at all, and nobody but their owner can read them."""

import os
import stat
from pathlib import Path

import pytest

from covid_monai.core.atomic_files import (
    keep_private,
    make_private_folder,
    open_private,
    replace_atomically,
    write_text_atomically,
)


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


def test_an_empty_file_can_be_written(tmp_path):
    write_text_atomically(tmp_path / "a", "")
    assert (tmp_path / "a").read_bytes() == b""


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request):
    earlier = os.umask(request.param)
    yield request.param
    os.umask(earlier)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("umask")
def test_new_files_and_all_their_new_folders_are_for_the_owner_alone(tmp_path):
    open_folder = tmp_path / "there before"
    open_folder.mkdir()
    open_folder.chmod(0o755)
    path = open_folder / "a" / "b" / "file.csv"
    with replace_atomically(path) as temporary:
        assert mode(temporary) == 0o600  # before it has content
        temporary.write_text("1")
        assert mode(temporary) == 0o600
    make_private_folder(open_folder / "c" / "d")
    with open(open_folder / "lines", "a", opener=open_private):
        pass
    assert mode(path) == mode(open_folder / "lines") == 0o600
    assert {mode(open_folder / name) for name in ("a", "a/b", "c", "c/d")} == {0o700}
    assert mode(open_folder) == 0o755


@pytest.mark.usefixtures("umask")
def test_an_older_file_that_others_could_read_is_replaced_by_one_that_they_cannot(tmp_path):
    path = tmp_path / "file.csv"
    path.write_text("old")
    path.chmod(0o666)
    stale = tmp_path / f".file.csv.{os.getpid()}.tmp"
    stale.write_text("of a killed process")
    stale.chmod(0o666)
    write_text_atomically(path, "new")
    assert (path.read_text(), mode(path)) == ("new", 0o600)


def test_the_umask_decides_who_can_read_a_file_to_be_shared(tmp_path, umask):
    path = tmp_path / "new" / "bundle.zip"
    with replace_atomically(path, shared=True) as temporary:
        temporary.write_text("1")
    assert (mode(path), mode(path.parent)) == (0o666 & ~umask, 0o777 & ~umask)


@pytest.mark.parametrize(("before", "after"), [(0o644, 0o600), (0o666, 0o600), (0o660, 0o660)])
def test_a_file_that_is_continued_is_taken_from_everybody_but_not_from_a_group(tmp_path, before, after):
    path, folder = tmp_path / "index.sqlite", tmp_path / "mlruns"
    path.write_text("old")
    path.chmod(before)
    folder.mkdir()
    folder.chmod(0o755)
    for each in (path, folder, tmp_path / "new"):
        keep_private(each)
    assert (path.read_text(), mode(path)) == ("old", after)
    assert (mode(folder), mode(tmp_path / "new")) == (0o700, 0o600)
