"""Digests and archives of a folder: what goes in comes out, and nothing gets out of the folder."""

import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covid_monai.bundle.bundle_zip import (
    CHECKSUMS,
    ArchiveError,
    open_bundle,
    read_checksums,
    unpack,
    verify_checksums,
    write_checksums,
    write_zip,
)

NAMES = st.text("abcXYZ0189 _-äж", min_size=1, max_size=12).filter(lambda name: name.strip() == name)
TREES = st.dictionaries(
    st.tuples(NAMES, NAMES).map("/".join), st.binary(max_size=300), min_size=1, max_size=6
)


def _write(tree, folder):
    for name, content in tree.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    write_checksums(folder)


@given(TREES)
@pytest.mark.slow
def test_what_is_packed_comes_out_and_packs_to_the_same_bytes(tree):
    with TemporaryDirectory() as name:
        root = Path(name)
        _write(tree, root / "bundle")
        write_zip(root / "bundle", root / "a.zip")
        out = unpack(root / "a.zip", root / "out")
        assert {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()} == {*tree, CHECKSUMS}
        assert all((out / file).read_bytes() == content for file, content in tree.items())
        write_zip(out, root / "b.zip")
        assert (root / "a.zip").read_bytes() == (root / "b.zip").read_bytes()


@pytest.mark.slow
@given(TREES, st.data())
def test_any_changed_byte_is_named(tree, data):
    with TemporaryDirectory() as name:
        root = Path(name)
        _write(tree, root)
        victim = data.draw(st.sampled_from(sorted(tree)))
        (root / victim).write_bytes(tree[victim] + b"x")
        with pytest.raises(ArchiveError, match="damaged or was changed") as error:
            verify_checksums(root)
        assert victim in str(error.value)


def test_a_flipped_bit_anywhere_is_named_or_changes_nothing(tmp_path):
    tree = {"a": bytes(range(256)) * 4, "b/c": b"text " * 100}
    _write(tree, tmp_path / "bundle")
    write_zip(tmp_path / "bundle", tmp_path / "a.zip")
    whole = (tmp_path / "a.zip").read_bytes()
    messages = []
    for position in range(0, len(whole), 3):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << position % 8
        (tmp_path / "flipped.zip").write_bytes(flipped)
        try:
            with open_bundle(tmp_path / "flipped.zip") as folder:
                assert all((folder / name).read_bytes() == content for name, content in tree.items())
        except ArchiveError as error:
            messages.append(str(error))
    assert all("flipped.zip" in message for message in messages)
    assert len(messages) > len(whole) / 6


@pytest.mark.parametrize("name", ["../x", "/etc/x", "b/../../x", "b\\..\\x", "C:x", "b/.."])
def test_a_name_that_leaves_the_folder_is_refused_before_anything_is_written(name, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("bundle/ok", "x")
        archive.writestr(name, "x")
    with pytest.raises(ArchiveError, match="would be written outside"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "x").exists()
    (tmp_path / CHECKSUMS).write_text(f"{'0' * 64}  {name}\n")
    with pytest.raises(ArchiveError, match="would be written outside"):
        read_checksums(tmp_path / CHECKSUMS)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({}, "this one holds nothing"),
        ({"a/x": b"", "b/x": b""}, "holds one folder, but this one holds a, b"),
        ({"a/x": b""}, "a/SHA256SUMS is missing"),
        ({"a/SHA256SUMS": b"rubbish\n"}, "holds 'rubbish', which is not a SHA-256 digest"),
        ({"a/SHA256SUMS": b""}, "lists no file"),
        ({"a/x": b"", "a/x/y": b""}, r"a\.zip is not a zip archive, .* \(Not a directory\)"),
        ({"a/x/y": b"", "a/x": b""}, r"a\.zip is not a zip archive, .* \(Is a directory\)"),
        ({f"a/{'x' * 300}": b""}, r"a\.zip is not a zip archive, .* \(File name too long\)"),
    ],
)
def test_archives_that_are_no_bundles_say_why(entries, message, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    with pytest.raises(ArchiveError, match=message), open_bundle(tmp_path / "a.zip"):
        pass


def test_an_archive_that_would_fill_the_disk_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("covid_monai.bundle.bundle_zip._MAX_BYTES", 10)
    _write({"x/y": b"0" * 100}, tmp_path / "bundle")
    write_zip(tmp_path / "bundle", tmp_path / "a.zip")
    with pytest.raises(ArchiveError, match="unpacks to more than"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


def test_a_folder_without_digests_is_no_concern(tmp_path):
    verify_checksums(tmp_path)
    with open_bundle(tmp_path) as folder:
        assert folder == tmp_path
