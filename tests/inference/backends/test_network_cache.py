"""Converted networks are kept whole, bounded in number, and never taken for others."""

import json
import tempfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covid_monai.inference.backends import network_cache


@pytest.mark.parametrize(
    "damage", [lambda _: b"", lambda data: data[:-200], lambda data: data[:5000] + b"\1" + data[5001:]]
)
def test_a_damaged_file_of_the_cache_is_made_again(empty_cache, damage):
    made = []

    def make():
        made.append(1)
        return {"a": b"\0" * 10_000, "b": b"text"}

    first = network_cache.get_or_convert({"of": 1}, make)
    (path,) = (empty_cache / "networks").iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert (
        network_cache.get_or_convert({"of": 1}, make)
        == network_cache.get_or_convert({"of": 1}, make)
        == first
    )
    assert len(made) == 2


def test_without_a_cache_folder_it_works_all_the_same(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("COVID_MONAI_CACHE", str(tmp_path / "file" / "below"))
    assert network_cache.get_or_convert({"of": 1}, lambda: {"a": b"1"}) == {"a": b"1"}


def test_the_cache_does_not_grow_for_ever(empty_cache):
    for number in range(network_cache.MAX_NETWORKS + 3):
        network_cache.get_or_convert({"number": number}, lambda: {"a": b"1"})
    assert len(list((empty_cache / "networks").iterdir())) == network_cache.MAX_NETWORKS


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=10)  # each writes two files to the disk
@given(st.dictionaries(st.text(), plain, max_size=3), st.dictionaries(st.text(), plain, max_size=3))
def test_what_is_made_of_other_things_is_never_taken(one, other):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("COVID_MONAI_CACHE", folder)
        assert network_cache.get_or_convert(one, lambda: {"a": b"one"}) == {"a": b"one"}
        same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
        assert network_cache.get_or_convert(other, lambda: {"a": b"other"}) == {
            "a": b"one" if same else b"other"
        }
