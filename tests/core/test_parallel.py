"""A map over threads: order, memory, errors."""

import threading
import time

import pytest

from covid_monai.core.parallel import map_in_threads


def test_results_come_in_the_order_of_the_items():
    def late(number):
        time.sleep(0.01 * (number % 3 == 0))
        return number * number

    found = list(map_in_threads(late, range(50), "squares", total=50, workers=4))
    assert found == [number * number for number in range(50)]
    assert list(map_in_threads(late, [], "none", total=0)) == []


def test_items_are_taken_only_a_few_ahead():
    taken = []

    def items():
        for number in range(1000):
            taken.append(number)
            yield number

    results = map_in_threads(lambda number: number, items(), "few", total=1000, workers=2)
    assert next(results) == 0
    assert len(taken) <= 10
    results.close()
    assert len(taken) <= 10


def test_an_error_is_raised_and_what_waits_is_dropped():
    begun, block = [], threading.Event()

    def fail(number):
        begun.append(number)
        if number == 0:
            raise LookupError("the first")
        block.wait(0.05)
        return number

    with pytest.raises(LookupError, match="the first"):
        list(map_in_threads(fail, range(100), "fails", total=100, workers=1))
    assert len(begun) < 10
