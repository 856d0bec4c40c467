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
    decided = policy.decide(job(attempts=attempts), ArchiveFailure(fault, "reason"))
    assert decided is action
    assert 0 <= policy.wait_s(job(attempts=attempts), decided) <= 2
    assert decided.stops_batch == (fault is not Fault.OBJECT)


def test_an_unclear_failure_is_the_images_fault_once_another_image_succeeds(policy):
    unclear = ArchiveFailure(Fault.UNCLEAR, "reason")
    assert policy.decide(job(1), unclear) is Action.DEFER
    policy.record_finished(job(2), succeeded=False)  # a dead letter proves nothing
    assert policy.decide(job(1), unclear) is Action.DEFER
    policy.record_finished(job(2), succeeded=True)
    assert policy.decide(job(1), unclear) is Action.RETRY
    assert policy.decide(job(3), unclear) is Action.DEFER  # the success came before its first failure


def test_while_the_archive_is_unavailable_an_unclear_failure_is_nobodys_fault(policy):
    unclear = ArchiveFailure(Fault.UNCLEAR, "reason")
    policy.decide(job(1), unclear)
    policy.record_finished(job(2), succeeded=True)
    policy.availability.record_failure("http_503")
    assert policy.decide(job(1), unclear) is Action.DEFER
