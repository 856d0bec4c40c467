"""Uploads in memory: zip archives, limits, names, memory files, and the memory budget."""

import struct
import tracemalloc
import zipfile

import pytest
from api_helpers import zipped
from hypothesis import given
from hypothesis import strategies as st

from covid_monai.api.uploads import (
    LimitExceeded,
    Limits,
    MemoryBudget,
    OutOfMemoryBudget,
    Upload,
    UploadError,
    plain_name,
    unpack_all,
)

BUDGET = MemoryBudget(1 << 30)
SMALL = Limits(max_file_bytes=1000, max_files=3, max_total_bytes=2000)


@given(
    st.lists(st.binary(max_size=300), max_size=3),
    st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
)
def test_a_zip_comes_apart_as_zipfile_packed_it(contents, method):
    data = zipped([(f"f/{number}.dcm", one) for number, one in enumerate(contents)], method=method)
    uploads = list(unpack_all([Upload("a.zip", data)], SMALL, BUDGET))
    assert uploads == [Upload(f"{number}.dcm", one) for number, one in enumerate(contents)]


@pytest.mark.slow
@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_method_that_inflates_in_one_step_is_refused_before_it_does(method):
    bomb = Upload("a.zip", zipped([("1.dcm", bytes(200_000_000))], method=method))
    assert len(bomb.data) < 100_000
    tracemalloc.start()
    with pytest.raises(UploadError, match="with Deflate"):
        list(unpack_all([bomb], Limits(), BUDGET))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5_000_000


def test_members_count_while_they_inflate_and_once_when_they_are_there():
    budget = MemoryBudget(1_500_000)
    archive = Upload("a.zip", zipped([("1", bytes(1_000_000)), ("2", bytes(600_000))]))
    limits = Limits(max_file_bytes=10_000_000)
    members = unpack_all([archive], limits, budget)
    first = next(members)
    assert budget.held == len(archive.data) + len(first.data)
    with pytest.raises(OutOfMemoryBudget):  # in the middle of the second member
        next(members)
    assert budget.held == len(archive.data) + len(first.data)
    del first, members, archive
    assert budget.held == 0


@given(st.binary(max_size=400))
def test_bytes_that_only_begin_like_a_zip_are_an_error_or_nothing(rest):
    message = ""
    try:
        assert list(unpack_all([Upload("a.zip", b"PK\x03\x04" + rest)], SMALL, BUDGET)) == []
    except UploadError as error:
        message = str(error)
    assert not message or "a.zip" in message


def test_a_damaged_member_and_an_encrypted_one_name_the_archive():
    whole = zipped([("a.dcm", b"image" * 50)], method=zipfile.ZIP_STORED)
    encrypted = bytearray(whole)
    for mark in (b"PK\x03\x04", b"PK\x01\x02"):
        encrypted[whole.index(mark) + (6 if mark == b"PK\x03\x04" else 8)] |= 1
    for data in (
        whole.replace(b"image", b"imaGe", 1),
        whole.replace(b"image", b"fiLm", 1),
        whole[:-30],
        bytes(encrypted),
    ):
        with pytest.raises(UploadError, match=r"images\.zip"):
            list(unpack_all([Upload("images.zip", data)], SMALL, BUDGET))


def test_a_zip_is_counted_while_it_inflates_whatever_it_says_of_itself():
    bomb = bytearray(zipped([("a.dcm", bytes(50_000_000))]))
    for mark, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        start = bomb.index(mark) + offset
        bomb[start : start + 4] = struct.pack("<I", 10)
    with pytest.raises(UploadError):
        list(unpack_all([Upload("bomb.zip", bytes(bomb))], Limits(max_file_bytes=1_000_000), BUDGET))
    large = Upload("bomb.zip", zipped([("a.dcm", bytes(50_000_000))]))
    with pytest.raises(LimitExceeded, match=r"a\.dcm"):
        list(unpack_all([large], Limits(max_file_bytes=1_000_000), BUDGET))


def test_too_many_members_too_much_together_and_a_huge_directory_are_refused():
    for data in (
        zipped([(str(number), b"") for number in range(4)]),
        zipped([(str(number), bytes(900)) for number in range(3)]),
        b"PK\x05\x06" + b"PK\x01\x02" * 10_001,
    ):
        with pytest.raises(LimitExceeded):
            list(
                unpack_all(
                    [Upload("a.zip", data)],
                    Limits(max_file_bytes=1 << 20, max_files=3, max_total_bytes=2000),
                    BUDGET,
                )
            )


def test_limits_hold_for_several_archives_together():
    two = Upload("a.zip", zipped([("1", bytes(600)), ("2", bytes(600))]))
    assert len(list(unpack_all([two], SMALL, BUDGET))) == 2
    with pytest.raises(LimitExceeded, match="files"):
        list(unpack_all([Upload("a.zip", zipped([("1", b""), ("2", b"")]))] * 2, SMALL, BUDGET))
    with pytest.raises(LimitExceeded, match="at once"):
        list(unpack_all([two, Upload("b", bytes(900))], SMALL, BUDGET))


def test_hidden_members_and_folders_are_left_out_and_names_lose_their_path():
    members = [("../../etc/passwd", b"1"), ("__MACOSX/._a.dcm", b"2"), ("x/.b", b"3"), ("c\\d.dcm", b"4")]
    uploads = list(unpack_all([Upload("a.zip", zipped([*members, ("folder/", b"")]))], SMALL, BUDGET))
    assert [(upload.name, upload.data) for upload in uploads] == [("passwd", b"1"), ("d.dcm", b"4")]


@given(st.text())
def test_a_plain_name_can_be_shown_and_sent(path):
    name = plain_name(path)
    assert name
    assert name.isprintable()
    assert not set(name) & set("/\\")
    name.encode("utf-8")


@pytest.mark.slow
def test_memory_is_free_again_when_nobody_refers_to_an_upload():
    budget = MemoryBudget(100)
    first = Upload("first", bytes(60))
    budget.keep(first)
    with pytest.raises(OutOfMemoryBudget, match="Remove images"):
        budget.keep(Upload("second", bytes(60)))
    assert budget.held == 60
    first.__dict__["itself"] = first  # as in a page, where elements refer to each other
    del first
    budget._next_collection = 0.0  # some seconds later
    budget.keep(third := Upload("third", bytes(60)))
    with budget.arrival() as arrival:
        arrival.add(40)
        with pytest.raises(OutOfMemoryBudget):
            arrival.add(1)
    assert budget.held == len(third.data)


def test_members_of_an_archive_count_as_long_as_they_are_referred_to_and_an_upload_counts_once():
    archive = Upload("a.zip", zipped([("1", bytes(600)), ("2", bytes(600))]))
    budget = MemoryBudget(len(archive.data) + 700)
    (alone,) = unpack_all([budget.keep(Upload("b", bytes(600)))], SMALL, budget)
    assert budget.held == len(alone.data) == 600
    del alone
    members = unpack_all([archive], SMALL, budget)
    first = next(members)
    assert budget.held == len(archive.data) + 600
    with pytest.raises(OutOfMemoryBudget):
        next(members)
    del first
