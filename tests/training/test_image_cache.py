"""The image cache: what is read back is what was decoded, whoever writes, dies or runs out of space."""

import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from covid_monai.training.image_cache import ImageCache, Row

SIZE = 16


def picture(file) -> torch.Tensor:
    """An image that follows from the file's bytes alone."""
    seed = int.from_bytes(Path(file).read_bytes()[:6], "big")
    return torch.randint(
        256, (1, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


def make_files(folder: Path, count: int, *, first: int = 0) -> list[str]:
    """Files of different content, old enough for their time stamps to be trusted."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"image{number}" for number in range(first, first + count)]
    for number, path in enumerate(paths, first):
        path.write_bytes((number + 1).to_bytes(6, "big"))
    return [str(path) for path in paths]


def expected(files) -> torch.Tensor:
    return torch.stack([picture(file) for file in files])


def everything(images) -> torch.Tensor:
    return images[torch.arange(len(images))]


def refuse(file):
    raise AssertionError(f"{file} was decoded again")


@pytest.fixture
def files(tmp_path):
    return make_files(tmp_path / "images", 300)


def test_images_come_back_in_the_order_asked_for_and_are_decoded_once(tmp_path, files):
    first = ImageCache(tmp_path / "cache", size=SIZE).images(files, picture)
    assert torch.equal(everything(first), expected(files))
    again = ImageCache(tmp_path / "cache", size=SIZE).images(files[::-1], refuse)
    assert torch.equal(again[torch.tensor([0, 5, 5])], expected([files[-1], files[-6], files[-6]]))
    assert (tmp_path / "cache" / "images.u8").stat().st_size == 300 * SIZE**2


def test_renamed_files_and_copies_are_found_and_a_changed_one_is_not(tmp_path, files):
    ImageCache(tmp_path / "cache", size=SIZE).images(files, picture)
    renamed = str(Path(files[0]).rename(tmp_path / "elsewhere"))
    ImageCache(tmp_path / "cache", size=SIZE).images([renamed, files[1]], refuse)
    stat = Path(files[2]).stat()
    Path(files[2]).write_bytes((4711).to_bytes(6, "big"))  # same size; the old time is put back
    os.utime(files[2], ns=(stat.st_atime_ns, stat.st_mtime_ns))
    changed = ImageCache(tmp_path / "cache", size=SIZE).images(files[1:], picture)
    assert torch.equal(everything(changed), expected(files[1:]))


def test_an_unchanged_file_is_not_read_again_and_a_young_one_is(tmp_path, files, monkeypatch):
    cache = ImageCache(tmp_path / "cache", size=SIZE)
    before = cache.contents(files)
    monkeypatch.setattr("covid_monai.training.image_cache.hash_content", lambda _file: b"read again")
    assert cache.contents(files) == [b"read again"] * len(files)  # written this very second
    monkeypatch.undo()
    monkeypatch.setattr("covid_monai.training.image_cache._SETTLED_SECONDS", -1.0)
    assert cache.contents(files) == before
    monkeypatch.setattr("covid_monai.training.image_cache.hash_content", refuse)
    assert cache.contents(files) == before


@pytest.mark.parametrize("damage", ["a flipped bit", "a truncated file", "two rows swapped", "a lost file"])
def test_damaged_images_are_decoded_again(tmp_path, files, damage):
    ImageCache(tmp_path / "cache", size=SIZE).images(files, picture)
    path = tmp_path / "cache" / "images.u8"
    content = bytearray(path.read_bytes())
    if damage == "a flipped bit":
        content[5 * SIZE**2 + 7] ^= 1
    elif damage == "a truncated file":
        del content[100 * SIZE**2 + 3 :]
    elif damage == "two rows swapped":
        row = SIZE**2
        content[:row], content[row : 2 * row] = content[row : 2 * row], content[:row]
    path.write_bytes(content)
    if damage == "a lost file":
        path.unlink()
    images = ImageCache(tmp_path / "cache", size=SIZE).images(files, picture)
    assert torch.equal(everything(images), expected(files))
    mended = ImageCache(tmp_path / "cache", size=SIZE).images(files, refuse)
    assert torch.equal(everything(mended), expected(files))


def test_a_damaged_index_says_what_to_do(tmp_path, files):
    ImageCache(tmp_path / "cache", size=SIZE).images(files, picture)
    (tmp_path / "cache" / "index.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(OSError, match=r"damaged .*Delete that folder"):
        ImageCache(tmp_path / "cache", size=SIZE).images(files, picture)


def test_what_was_decoded_before_a_failure_is_kept(tmp_path, files):
    def stumble(file):
        if file == files[200]:
            raise ValueError("image200 cannot be read")
        return picture(file)

    with pytest.raises(ValueError, match="image200"):
        ImageCache(tmp_path / "cache", size=SIZE).images(files, stumble, workers=1)
    decoded = []
    images = ImageCache(tmp_path / "cache", size=SIZE).images(
        files, lambda file: decoded.append(file) or picture(file)
    )
    assert files[200] in decoded
    assert len(decoded) < 300
    assert torch.equal(everything(images), expected(files))


def test_a_file_that_changes_before_it_is_decoded_is_not_taken_for_the_old_one(tmp_path, files):
    def late(file):
        Path(file).write_bytes((4711).to_bytes(6, "big"))
        return picture(file)

    with pytest.raises(OSError, match="image0 was changed while"):
        ImageCache(tmp_path / "cache", size=SIZE).images(files[:1], late)
    images = ImageCache(tmp_path / "cache", size=SIZE).images(files, picture)
    assert torch.equal(everything(images), expected(files))


def test_an_image_of_another_shape_is_refused(tmp_path, files):
    with pytest.raises(ValueError, match=r"not uint8 \[1, 16, 16\]"):
        ImageCache(tmp_path / "cache", size=SIZE).images(
            files, lambda _file: torch.zeros(1, 8, 8, dtype=torch.uint8)
        )


WRITER = """
import sys, time
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_image_cache import SIZE, picture, everything, expected
from covid_monai.training.image_cache import ImageCache

def slowly(file):
    time.sleep(0.002)
    with open({log!r}, "a") as log:
        log.write(file + chr(10))
    return picture(file)

files = sorted(map(str, Path({images!r}).iterdir()))
images = ImageCache({cache!r}, size=SIZE).images(files, slowly, workers=2)
assert (everything(images) == expected(files)).all()
"""


def _writer(tmp_path, files) -> subprocess.Popen:
    names = {"tests": Path(__file__).parent, "images": Path(files[0]).parent, "log": tmp_path / "log"}
    code = WRITER.format(**{key: str(value) for key, value in names.items()}, cache=str(tmp_path / "cache"))
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)


def _rows(tmp_path) -> int:
    path = tmp_path / "cache" / "index.sqlite"
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
            return database.execute("SELECT COUNT(*) FROM image").fetchone()[0]
    except sqlite3.OperationalError:  # not there yet
        return 0


@pytest.mark.slow
def test_a_killed_writer_leaves_whole_images_only_and_the_next_goes_on(tmp_path):
    files = make_files(tmp_path / "images", 1500)
    writer = _writer(tmp_path, files)
    deadline = time.monotonic() + 120
    while _rows(tmp_path) < 200:
        assert writer.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    writer.send_signal(signal.SIGKILL)
    writer.communicate(timeout=60)
    kept = _rows(tmp_path)
    assert 200 <= kept < 1500
    decoded = []
    images = ImageCache(tmp_path / "cache", size=SIZE).images(
        files, lambda file: decoded.append(file) or picture(file)
    )
    assert torch.equal(everything(images), expected(files))
    assert len(decoded) == 1500 - kept


@pytest.mark.slow
def test_two_writers_share_the_work_and_both_read_every_image(tmp_path):
    files = make_files(tmp_path / "images", 3000)
    writers = [_writer(tmp_path, files) for _ in range(2)]
    for writer in writers:
        _, error = writer.communicate(timeout=240)
        assert writer.returncode == 0, error
    assert _rows(tmp_path) == 3000
    assert (tmp_path / "cache" / "images.u8").stat().st_size == 3000 * SIZE**2
    decoded = (tmp_path / "log").read_text().splitlines()
    assert set(decoded) == set(files)
    assert len(decoded) < 1.5 * 3000


@pytest.mark.slow
@pytest.mark.skipif(
    os.geteuid() != 0 or sys.platform != "linux", reason="mounts a small file system: needs root"
)
def test_a_full_disk_says_so_and_what_was_kept_stays_whole(tmp_path):
    files = make_files(tmp_path / "images", 2000)
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", small], capture_output=True)
    if mounted.returncode:
        pytest.skip("cannot mount a file system here")
    try:
        for _ in range(2):
            with pytest.raises(OSError, match="another --cache_dir, or use --cache memory"):
                ImageCache(small / "cache", size=SIZE).images(files, picture)
        contents = {hashlib.blake2b(Path(file).read_bytes(), digest_size=16).digest() for file in files}
        assert set(ImageCache(small / "cache", size=SIZE).rows()) < contents
        subprocess.run(["mount", "-o", "remount,size=4m", small], check=True)
        images = ImageCache(small / "cache", size=SIZE).images(files, picture)
        assert torch.equal(everything(images), expected(files))
    finally:
        subprocess.run(["umount", "--lazy", small], check=True)


@given(batches=st.lists(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 255)), max_size=8), max_size=8))
@settings(deadline=None, max_examples=12)
def test_every_content_has_one_row_no_two_share_one_and_failures_change_nothing(tmp_path_factory, batches):
    cache = ImageCache(tmp_path_factory.mktemp("index"), size=SIZE)
    model: dict[bytes, int] = {}
    for batch in batches:
        images = {bytes([content]): torch.full((1, SIZE, SIZE), grey).byte() for content, grey in batch}
        with pytest.raises(AttributeError):
            cache.write([*images.items(), (b"no image", None)])
        cache.write([*images.items()])
        model.update({key: zlib.crc32(key + image.numpy().tobytes()) for key, image in images.items()})
        rows = cache.rows()
        assert {content: row.checksum for content, row in rows.items()} == model
        assert sorted(row.number for row in rows.values()) == list(range(len(model)))
        assert all(isinstance(row, Row) for row in rows.values())
