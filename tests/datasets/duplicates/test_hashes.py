"""The search for near hashes finds what counting bits finds."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from covid_monai.datasets.duplicates.hashes import CandidateSearch, HashSearch


def test_a_search_among_like_pictures_finds_nearly_all_copies():
    rng = np.random.default_rng(0)
    kinds = rng.random((12, 256)) < 0.5  # images are alike within a kind, not only at random
    bits = kinds[rng.integers(12, size=600)] ^ (rng.random((600, 256)) < 0.25)
    bits[500:] = bits[:100] ^ (rng.random((100, 256)) < 0.08)  # copies
    bits[550:] ^= True  # negatives of copies
    turned = bits ^ np.tile([False, True], 128)  # turned over: odd frequencies change their sign
    hashes = np.packbits(np.stack([bits, bits, turned], axis=1), axis=2)

    def close_pairs(compared):
        search = CandidateSearch(hashes, compared=compared)
        found = [candidate for number in range(600) for candidate in search.candidates(number)]
        assert {each.placement.inverted for each in found} == {False, True}
        pairs = {(each.first, each.second) for each in found}
        differing = {pair: int((bits[pair[0]] ^ bits[pair[1]]).sum()) for pair in pairs}
        return {pair for pair, count in differing.items() if min(count, 256 - count) <= 38}

    everything = close_pairs(1200)
    assert everything >= {(number, number + 500) for number in range(100)}
    found = close_pairs(240)  # in four of 18 clusters for each window: those at the borders may be missed
    assert found <= everything
    assert len(found) > 0.95 * len(everything)


HASHES = st.integers(1, 12).flatmap(lambda count: npst.arrays(np.uint8, (count, 4)))


@given(entries=HASHES, windows=HASHES, differing=st.integers(0, 16))
def test_a_search_finds_what_counting_all_bits_finds_the_nearest_first(entries, windows, differing):
    near = HashSearch(entries).near(windows, differing=differing)
    bits, asked = np.unpackbits(entries, axis=1), np.unpackbits(np.concatenate([windows, ~windows]), axis=1)
    counted = (bits[:, None] != asked).sum(axis=2)  # [entries, windows as they are and turned]
    least = counted.min(axis=1)
    expected = sorted((int(least[entry]), entry) for entry in np.flatnonzero(least <= differing))
    assert list(zip(near.differing.tolist(), near.entries.tolist(), strict=True)) == expected
    turned = near.windows + near.inverted * len(windows)
    assert np.array_equal(counted[near.entries, turned], near.differing)


@pytest.mark.parametrize("first", ["gdcm", "faiss"])
def test_faiss_and_gdcm_live_in_one_process(first):
    imports = {"gdcm": "import gdcm", "faiss": "faiss = import_faiss()"}
    order = [imports[first], *(line for name, line in imports.items() if name != first)]
    script = "\n".join(
        [
            "import numpy as np",
            "from covid_monai.core.lazy_imports import import_faiss",
            *order,
            "listed = gdcm.Anonymizer.GetBasicApplicationLevelConfidentialityProfileAttributes()",
            "assert len([(each.GetGroup(), each.GetElement()) for each in listed]) > 40",
            "index = faiss.IndexBinaryFlat(32)",
            "index.add(np.zeros((5, 4), dtype=np.uint8))",
            "assert len(index.range_search(np.zeros((1, 4), dtype=np.uint8), 1)[1]) == 5",
            "del listed, index",
        ]
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
