"""Failures: whose fault a failed request is, and how long to wait after it.

tests/pacs/test_client.py has the status codes of a server.
"""

import threading
import time

import requests
from hypothesis import given
from hypothesis import strategies as st

from covid_monai.pacs.failures import Availability, Fault, classify_error, full_jitter


def test_404_is_the_archives_fault_when_results_are_sent():
    response = requests.Response()
    response.status_code = 404
    error = requests.HTTPError(response=response)
    assert classify_error(error).fault is Fault.UNCLEAR
    assert classify_error(error, storing=True).fault is Fault.ARCHIVE


@given(st.integers(1, 10_000), st.floats(0.01, 1000))
def test_a_wait_is_random_and_bounded(failures, longest):
    assert 0 <= full_jitter(failures, longest_s=longest) <= min(longest, 2.0 ** min(failures, 60))


def test_a_success_ends_a_failure_and_each_change_is_reported_once():
    availability = Availability(longest_wait_s=1, stop=threading.Event())
    record = availability.record_failure
    assert [record("fetch", "x"), record("fetch", "x"), record("watch", "x")] == [True, False, True]
    assert availability.failure_reason == "x"
    assert not availability.record_success("results")  # which has not failed
    assert [availability.record_success("fetch"), availability.record_success("fetch")] == [True, False]
    assert availability.failure_reason == "x"  # the stage "watch" still fails
    assert availability.record_success("watch")
    assert availability.failure_reason is None
    assert availability.failing_since is None


def test_failures_in_a_row_keep_the_time_of_the_first():
    availability = Availability(longest_wait_s=1, stop=threading.Event())
    availability.record_failure("fetch", "x")
    since = availability.failing_since
    assert time.time() - since < 60
    availability.record_failure("fetch", "y")
    assert availability.failing_since == since


def test_a_wait_ends_when_a_person_asks_for_another_try(monkeypatch):
    availability = Availability(longest_wait_s=600, stop=threading.Event())
    monkeypatch.setattr("covid_monai.pacs.failures.full_jitter", lambda _, *, longest_s: longest_s)
    for _ in range(9):
        availability.record_failure("fetch", "ConnectionError")
    waiting = threading.Thread(target=availability.wait)
    waiting.start()
    time.sleep(0.1)  # until it waits
    availability.end_waits()
    waiting.join(timeout=10)
    assert not waiting.is_alive()
    waits = []
    monkeypatch.setattr(
        "covid_monai.pacs.failures.full_jitter", lambda failures, **_: waits.append(failures) or 0
    )
    availability.wait()
    assert waits == [1]  # short waits again
    assert availability.failure_reason == "ConnectionError"
