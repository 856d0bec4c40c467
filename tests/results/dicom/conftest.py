"""Images of phantoms and the maker of their result objects, which the tests of several modules share."""

import pydicom
import pytest

from covid_monai.results import ResultObjects


@pytest.fixture(scope="module")
def results(classifier):
    return ResultObjects(classifier, pdf=True)


@pytest.fixture(scope="module")
def images(phantoms):
    """A CR and a DX (MONOCHROME1)."""
    files = sorted((phantoms.parent / "images").glob("*.dcm"))
    kinds = {pydicom.dcmread(path, stop_before_pixels=True).Modality: path for path in files}
    return [kinds["CR"], kinds["DX"]]
