"""The button and the page of deploy/worker/explorer.py in a real Orthanc with its Python plugin."""

import json
import shutil
import urllib.error
from pathlib import Path

import pytest
from app_helpers import Page
from pacs_helpers import (
    NEEDS_ORTHANC,
    ROOT,
    SC,
    SR,
    WORDS_OF_IDENTITY,
    Orthanc,
    class_of,
    images,
    of,
    wait_for_answers,
    wait_until,
)
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from covid_monai.core.vocabulary import RESEARCH_USE

PLUGINS = Path("/usr/share/orthanc/plugins")
pytestmark = [
    pytest.mark.slow,
    NEEDS_ORTHANC,
    pytest.mark.skipif(
        not (PLUGINS / "libOrthancPython.so").is_file(),
        reason="needs Orthanc's Python plugin (apt-get install orthanc-python)",
    ),
]


@pytest.fixture
def explorer(tmp_path):
    names = ("libOrthancDicomWeb.so", "libOrthancGdcm.so", "libOrthancPython.so")
    script = str(ROOT / "deploy" / "worker" / "explorer.py")
    plugins = [str(PLUGINS / name) for name in names]
    archive = Orthanc(tmp_path / "orthanc", Plugins=plugins, PythonScript=script)
    yield archive
    archive.stop()


def page_of(orthanc, study):
    return orthanc.get(f"/covid-monai/studies/{study}").decode()


def study_of(orthanc, path):
    uid = str(dcmread(path, stop_before_pixels=True).StudyInstanceUID)
    body = json.dumps({"Level": "Study", "Query": {"StudyInstanceUID": uid}}).encode()
    (study,) = orthanc.get("/tools/find", data=body)
    return study


@pytest.mark.slow
def test_the_page_of_a_study_shows_its_results_and_the_button_leads_there(explorer, started, tmp_path):
    with_result, without = images(tmp_path / "images", 2)
    explorer.send([with_result])
    worker = started(of(explorer), results={"pdf": True})
    wait_for_answers(explorer, 1, seconds=120)
    wait_until(lambda: worker.metric("queue_jobs") == 0, seconds=60)
    worker.stop()
    explorer.send([without])
    study = study_of(explorer, with_result)
    page = page_of(explorer, study)
    assert RESEARCH_USE in page
    assert "Probability of abnormal" in page
    assert f"Image {dcmread(with_result, stop_before_pixels=True).SOPInstanceUID}" in page
    assert page.count("<h2>") == 1  # all results are of one image
    kinds = {class_of(explorer, found): found["ID"] for found in explorer.results()}
    assert f"../../instances/{kinds[SC]}/preview" in page
    assert "/pdf'>Open the PDF" in page
    assert not [word for word in WORDS_OF_IDENTITY if word in page]
    empty = page_of(explorer, study_of(explorer, without))
    assert "This study has no results." in empty
    assert "covid-monai worker explain" in empty
    if not shutil.which("chromedriver"):
        pytest.skip("the button needs chromium and chromium-driver")
    browser = Page(tmp_path / "profile", tmp_path / "downloads").driver
    try:
        browser.get(f"{explorer.url}/app/explorer.html#study?uuid={study}")
        wait_until(lambda: browser.find_elements("css selector", "#covid-monai-results"), seconds=30)
        wait_until(
            lambda: browser.find_element("css selector", "#covid-monai-results").is_displayed(), seconds=30
        )
        browser.find_element("css selector", "#covid-monai-results").click()
        wait_until(lambda: len(browser.window_handles) == 2, seconds=30)
        browser.switch_to.window(browser.window_handles[1])
        assert browser.current_url == f"{explorer.url}/covid-monai/studies/{study}"
        picture = browser.find_element("css selector", "img")
        wait_until(lambda: picture.get_property("naturalWidth") > 100, seconds=30, what="the heat map")
    finally:
        browser.quit()


def test_text_of_an_object_is_no_code_in_the_page(explorer, tmp_path):
    (path,) = images(tmp_path / "images", 1)
    ds = dcmread(path)
    ds.ManufacturerModelName = "covid-monai results"
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = SR
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    ds.SeriesDescription = "<script>alert(1)</script>"
    item, name = Dataset(), Dataset()
    name.CodeMeaning = "'><img src=x onerror=alert(2)>"
    item.ConceptNameCodeSequence, item.TextValue, item.RelationshipType = [name], "<b>bold</b>", "CONTAINS"
    ds.ContentSequence = [item, Dataset()]
    del ds.PixelData
    ds.save_as(path)
    explorer.get("/instances", data=path.read_bytes(), method="POST")
    page = page_of(explorer, study_of(explorer, path))
    assert "&lt;script&gt;" in page
    assert "&lt;b&gt;bold" in page
    assert not any(code in page for code in ("<script", "<b>", "<img"))


@pytest.mark.parametrize(("path", "method", "code"), [("0" * 8, "GET", 404), ("0" * 8, "POST", 405)])
def test_an_unknown_study_and_other_methods_are_refused(explorer, path, method, code):
    with pytest.raises(urllib.error.HTTPError) as caught:
        explorer.get(f"/covid-monai/studies/{path}", method=method, data=b"" if method == "POST" else None)
    assert caught.value.code == code
