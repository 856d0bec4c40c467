"""Images by address: nothing but instances below an allowed root is ever requested."""

import pytest

from covid_monai.api.dicomweb import InstanceFetcher, connection_to
from covid_monai.api.problems import ProblemError
from covid_monai.api.uploads import MemoryBudget

ROOT = "http://127.0.0.1:9/dicom-web"
INSTANCE = "/studies/1.2/series/1.3/instances/1.4"


@pytest.fixture
def fetcher():
    return InstanceFetcher([f"{ROOT}/"], MemoryBudget(1000), max_object_bytes=1000, seconds=5)


@pytest.mark.parametrize(
    "url",
    [
        f"http://127.0.0.1:9/dicom-web-2{INSTANCE}",
        f"http://127.0.0.1:90/dicom-web{INSTANCE}",
        f"{ROOT}@evil.example{INSTANCE}",
        f"{ROOT}/..{INSTANCE}",
        f"{ROOT}{INSTANCE}/../../../../../../admin",
        f"{ROOT}{INSTANCE}?redirect=http://evil.example",
        f"{ROOT}/studies/1..2/series/1.3/instances/1.4",
        ROOT,
    ],
)
def test_any_other_address_is_refused_before_a_request(fetcher, url):
    with pytest.raises(ProblemError, match="not the address of an instance below") as caught:
        fetcher.fetch([f"{ROOT}{INSTANCE}", url])
    assert caught.value.kind == "address-not-allowed"


def test_a_failed_request_names_address_and_reason(fetcher):
    with pytest.raises(ProblemError, match=f"{ROOT}{INSTANCE} cannot be fetched: ConnectionError") as caught:
        list(fetcher.fetch([f"{ROOT}{INSTANCE}"]))
    assert caught.value.kind == "archive"


def test_a_root_that_is_not_an_address_is_named():
    with pytest.raises(
        ValueError, match="ftp://x is not the address of a DICOMweb service: give a full address"
    ):
        connection_to("ftp://x", seconds=5)
