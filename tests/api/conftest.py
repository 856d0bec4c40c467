"""The REST service in this process with tight limits, which the tests of the API share."""

import pytest
from api_helpers import SETTINGS, in_process
from dicom_helpers import make_ds, picture, save
from pacs_helpers import IDENTITY

from covid_monai.api.engine import Engine


@pytest.fixture(scope="module")
def engine(classifier):
    engine = Engine(classifier, max_callers=60)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def service(engine):
    with in_process(engine, SETTINGS) as url:
        yield url


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    path = tmp_path_factory.mktemp("image") / "Nightingale^Florence.dcm"
    return save(make_ds(picture(200, 200), **IDENTITY), path)
