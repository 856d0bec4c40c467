"""Retry policy: what happens to an image after a failure."""

import threading

import pytest

from covid_monai.pacs.connection import InstanceAddress
from covid_monai.pacs.failures import ArchiveFailure, Availability, Fault
from covid_monai.worker.queue import Job
from covid_monai.worker.retry import Action, RetryPolicy
from covid_monai.worker.settings import Limits


def job(number=1, attempts=0):
    address = InstanceAddress("1.2", "1.3", f"1.4.{number}")
    return Job(number, "a", address, noticed=0, starts=1, attempts=attempts, deferrals=0, reason=None)


@pytest.fixture
def policy():
    availability = Availability(longest_wait_s=1, stop=threading.Event())
    return RetryPolicy(Limits(attempts=3, longest_wait_seconds=2), availability)


@pytest.mark.parametrize(
    ("fault", "attempts", "action"),
    [
        (Fault.OBJECT, 0, Action.RETRY),
        (Fault.OBJECT, 1, Action.RETRY),
        (Fault.OBJECT, 2, Action.GIVE_UP),
        (Fault.ARCHIVE, 2, Action.WAIT_FOR_ARCHIVE),
        (Fault.UNCLEAR, 2, Action.DEFER),
    ],
)
def test_each_fault_has_its_action(policy, fault, attempts, action):
    decided = policy.decide(job(attempts=attempts), "fetch", ArchiveFailure(fault, "reason"))
    assert decided is action
    assert 0 <= policy.wait_s(job(attempts=attempts), decided) <= 2
    assert decided.stops_batch == (fault is not Fault.OBJECT)


def test_an_unclear_failure_is_the_images_fault_if_another_image_succeeds_between_two_failures(policy):
    unclear = ArchiveFailure(Fault.UNCLEAR, "reason")
    assert policy.decide(job(1), "fetch", unclear) is Action.DEFER
    policy.record_finished(job(2))  # a dead letter proves nothing
    assert policy.decide(job(1), "fetch", unclear) is Action.DEFER
    policy.record_finished(job(2), "fetch")
    assert policy.decide(job(1), "fetch", unclear) is Action.RETRY
    assert policy.decide(job(1), "fetch", unclear) is Action.DEFER  # nothing has succeeded since
    assert (
        policy.decide(job(3), "fetch", unclear) is Action.DEFER
    )  # the success came before its first failure


def test_an_image_without_results_does_not_prove_that_the_archive_can_store(policy):
    failure = ArchiveFailure(Fault.UNCLEAR, "store_failed_0110")
    assert policy.decide(job(1), "results", failure) is Action.DEFER
    policy.availability.record_failure("results", failure.reason)
    assert not policy.record_finished(job(2), "fetch")  # refused: fetched, but nothing was stored
    assert policy.availability.failure_reason == "store_failed_0110"
    assert policy.decide(job(1), "results", failure) is Action.DEFER
    assert policy.record_finished(job(3), "fetch", "results")
    assert policy.availability.failure_reason is None
    assert policy.decide(job(1), "results", failure) is Action.RETRY


def test_while_the_archive_is_unavailable_no_failure_makes_a_dead_letter(policy):
    unclear = ArchiveFailure(Fault.UNCLEAR, "reason")
    policy.decide(job(1), "fetch", unclear)
    policy.record_finished(job(2), "fetch", "results")
    policy.availability.record_failure("results", "http_503")
    assert policy.decide(job(1), "fetch", unclear) is Action.DEFER
    assert (
        policy.decide(job(3, attempts=9), "fetch", ArchiveFailure(Fault.OBJECT, "too_large")) is Action.RETRY
    )


def test_while_the_change_feed_fails_no_failure_makes_a_dead_letter(policy):
    unreadable = ArchiveFailure(Fault.OBJECT, "unreadable")
    policy.availability.record_failure("watch", "http_503")
    policy.record_finished(job(2), "fetch", "results")  # which says nothing about the feed
    assert policy.decide(job(1, attempts=9), "results", unreadable) is Action.RETRY
    policy.availability.record_success("watch")
    assert policy.decide(job(1, attempts=9), "results", unreadable) is Action.GIVE_UP
