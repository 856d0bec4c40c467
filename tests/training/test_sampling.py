"""How often each image is drawn and how much it counts."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from covid_monai.training.sampling import EpochSampler, class_weights, source_weights


def test_class_weights_make_every_class_count_alike_and_every_image_once_on_average():
    labels = [0] * 50 + [1] * 7 + [2] * 13
    weights = class_weights([{"label": label} for label in labels], 3).numpy()
    np.testing.assert_allclose(weights * np.bincount(labels), len(labels) / 3, rtol=1e-6)
    assert weights[labels].mean() == pytest.approx(1, rel=1e-6)


@given(size=st.integers(2, 60), world_size=st.integers(1, 4), epoch=st.integers(0, 5))
@settings(deadline=None)
def test_no_image_is_drawn_twice_in_an_epoch(size, world_size, epoch):
    ranks = []
    for rank in range(world_size):
        sampler = EpochSampler(range(size), seed=3, rank=rank, world_size=world_size)
        sampler.set_epoch(epoch)
        ranks.append(list(sampler))
    drawn = [index for rank in ranks for index in rank]
    assert len(drawn) == len(set(drawn))
    assert len(drawn) > size - world_size
    assert len({len(rank) for rank in ranks}) == 1


def test_the_order_depends_on_seed_and_epoch_alone():
    def order(seed, epoch):
        sampler = EpochSampler(range(100), seed=seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    torch.manual_seed(1)
    first = order(0, 3)
    torch.manual_seed(2)
    assert order(0, 3) == first
    assert order(0, 4) != first
    assert order(1, 3) != first


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from("abc")), min_size=1, max_size=60))
def test_drawing_by_source_gives_classes_equal_and_sources_square_root_shares(cells):
    records = [{"label": label, "source": source} for label, source in cells]
    weights = source_weights(records).double().numpy()
    labels = np.array([label for label, _ in cells])
    present = np.unique(labels)
    for label in present:
        assert weights[labels == label].sum() == pytest.approx(1 / len(present), rel=1e-4)
    share = {cell: weights[[cell == other for other in cells]].sum() for cell in cells}
    for one, other in itertools.combinations(share, 2):
        if one[0] == other[0]:
            expected = (cells.count(one) / cells.count(other)) ** 0.5
            assert share[one] / share[other] == pytest.approx(expected, rel=1e-4)


def test_a_weighted_order_follows_the_weights_and_repeats_by_epoch():
    weights = torch.tensor([0.0, 0.2, 0.8])
    images = list(range(3)) * 1000
    parts = [
        EpochSampler(images, weights=weights.repeat(1000), seed=3, rank=rank, world_size=2) for rank in (0, 1)
    ]
    first, second = ([index % 3 for index in part] for part in parts)
    assert len(first) == len(second) == 1500
    assert first != second
    assert 0 not in first
    assert np.mean(np.array(first + second) == 2) == pytest.approx(0.8, abs=0.03)
    assert first == [index % 3 for index in parts[0]]
    parts[0].set_epoch(1)
    assert first != [index % 3 for index in parts[0]]


@pytest.mark.parametrize(("adults", "share", "expected"), [(10, 0.7, 0.7), (1000, 0.7, None), (0, 0.7, 0)])
def test_adults_get_at_least_their_share_of_each_class(adults, share, expected):
    records = [{"label": label, "source": "c", "age_group": "child"} for label in (0, 1) for _ in range(90)]
    records += [{"label": 0, "source": "a", "age": 40.0}] * adults
    weights, plain = source_weights(records, share).double(), source_weights(records).double()
    drawn = float(weights[180:].sum() * 2)
    assert drawn == pytest.approx(float(plain[180:].sum() * 2) if expected is None else expected, rel=1e-5)
    assert weights[90:180].sum() == pytest.approx(0.5, rel=1e-5)  # a class without adults is left alone
    assert weights.sum() == pytest.approx(1, rel=1e-5)
    np.testing.assert_allclose(weights[:90], weights[0], rtol=1e-6)
