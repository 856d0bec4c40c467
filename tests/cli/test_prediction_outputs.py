"""`covid-monai predict --dicom-output`: objects beside the records, as the predictions come."""

import json
import sys
from datetime import datetime

import pydicom
import pytest
from dicom_helpers import make_ds, picture, save
from PIL import Image
from results_helpers import MADE, NEEDS_POPPLER, small_classifier
from results_helpers import run as poppler

from covid_monai.core.vocabulary import RESEARCH_USE
from covid_monai.inference.classifier import Classifier
from covid_monai.results import ObjectKind, ResultObjects, result_uids
from covid_monai.results.dicom import result_objects


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    small_classifier(folder)
    return folder


@pytest.fixture
def images(tmp_path):
    """Two images, a hand, a picture, an image without a study, a text called an image."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("a.dcm", "Doe_Jane.dcm"):
        save(make_ds(picture()), folder / name)
    save(make_ds(picture(), BodyPartExamined="HAND"), folder / "hand.dcm")
    ds = make_ds(picture())
    del ds.StudyInstanceUID
    save(ds, folder / "nowhere.dcm")
    Image.fromarray(picture()).save(folder / "picture.png")
    (folder / "text.jpg").write_text("no image at all")
    return folder


@pytest.mark.slow
def test_objects_and_records_are_written_side_by_side(run, bundle, images, tmp_path):
    output, folder = tmp_path / "out.jsonl", tmp_path / "dicom"
    command = ("predict", "--bundle", bundle, "--dicom-output", folder, "--pdf", "--output", output, images)
    code, _, err = run(*command)
    assert code == 1  # one refused, one error, as without the option
    assert len(output.read_text().splitlines()) == 6
    kinds = sorted(str(pydicom.dcmread(path).Modality) for path in folder.iterdir())
    assert kinds == ["DOC"] * 2 + ["OT"] * 2 + ["PR"] * 2 + ["SR"] * 3
    assert f"9 DICOM objects of 3 images in {folder}." in err
    assert "No DICOM objects for 3 files: " in err
    for cause in ("not a DICOM file (1)", "no StudyInstanceUID (1)", "error (unreadable) (1)"):
        assert cause in err
    assert RESEARCH_USE in err
    assert not [path for path in folder.iterdir() if "Doe" in path.name]


@pytest.fixture
def at_one_time(monkeypatch):
    class Stopped(datetime):
        @classmethod
        def now(cls, tz=None):
            return MADE.astimezone(tz)

    monkeypatch.setattr("covid_monai.cli.prediction_outputs.datetime", Stopped)


@pytest.mark.slow
@pytest.mark.usefixtures("at_one_time")
def test_a_second_run_at_the_same_time_writes_the_same_bytes(run, bundle, images, tmp_path):
    written = []
    for _ in range(2):
        run("predict", "--bundle", bundle, "--dicom-output", tmp_path / "dicom", images)
        written.append({path.name: path.read_bytes() for path in (tmp_path / "dicom").iterdir()})
    assert written[0] == written[1]
    assert len(written[0]) == 7


@pytest.mark.slow
@pytest.mark.usefixtures("at_one_time")
def test_two_files_of_one_uid_are_named_and_the_first_stays(run, bundle, images, tmp_path):
    twin = pydicom.dcmread(images / "a.dcm")
    twin.PixelData = twin.PixelData[::-1]
    twin.save_as(images / "twin.dcm")
    pair = (images / "a.dcm", images / "twin.dcm")
    _, _, err = run("predict", "--bundle", bundle, "--dicom-output", tmp_path / "both", *pair)
    assert "3 DICOM objects of 1 image in" in err
    assert "same SOP Instance UID as an earlier image (1)" in err
    run("predict", "--bundle", bundle, "--dicom-output", tmp_path / "first", pair[0])
    both, first = (
        {path.name: path.read_bytes() for path in folder.iterdir()}
        for folder in (tmp_path / "both", tmp_path / "first")
    )
    assert both == first


@pytest.mark.slow
def test_all_objects_of_a_run_have_one_time(run, bundle, images, tmp_path):
    before = datetime.now().astimezone()
    run("predict", "--bundle", bundle, "--dicom-output", tmp_path / "dicom", images)
    made = {(ds.SeriesDate, ds.SeriesTime) for ds in map(pydicom.dcmread, (tmp_path / "dicom").iterdir())}
    ((date, time),) = made
    assert f"{before:%Y%m%d%H%M%S}" <= date + time <= f"{datetime.now().astimezone():%Y%m%d%H%M%S}"


@pytest.mark.slow
def test_a_failure_with_one_image_stops_no_other(run, bundle, images, tmp_path, monkeypatch):
    """The first fails when it is made, the third when it is written."""
    output, folder = tmp_path / "out.jsonl", tmp_path / "dicom"
    files = [save(make_ds(picture()), images / f"{name}.dcm") for name in "abcd"]
    blocked = result_uids(
        pydicom.dcmread(files[2]).SOPInstanceUID, _model(bundle), ObjectKind.PRESENTATION_STATE
    )
    (folder / f"{blocked.sop_instance_uid}.dcm").mkdir(parents=True)  # a folder where the third file belongs
    make = result_objects.make_presentation_state

    def fail_with_the_first(explained, prediction, series):
        if prediction.file == str(files[0]):
            raise ValueError("Doe^Jane")
        return make(explained, prediction, series)

    monkeypatch.setattr(result_objects, "make_presentation_state", fail_with_the_first)
    code, _, err = run("predict", "--bundle", bundle, "--dicom-output", folder, "--output", output, *files)
    assert code == 1
    assert [json.loads(line)["status"] for line in output.read_text().splitlines()] == ["ok"] * 4
    written = [path for path in folder.iterdir() if path.is_file()]
    sources = [pydicom.dcmread(file).StudyInstanceUID for file in files]
    found = sorted(sources.index(pydicom.dcmread(path).StudyInstanceUID) for path in written)
    assert found == [1] * 3 + [3] * 3
    assert f"{files[0]}: no DICOM objects were written (ValueError)" in err
    assert f"{files[2]}: no DICOM objects were written (" in err
    assert "6 DICOM objects of 2 images in" in err
    assert "No DICOM objects for 2 files: failed (2)" in err
    assert "Doe^Jane" not in err


def _model(bundle):
    return ResultObjects(Classifier(bundle, device="cpu")).model


@pytest.mark.parametrize("number", [1, 2])
def test_a_report_that_fails_leaves_the_records(run, bundle, images, tmp_path, monkeypatch, number):
    def fail(*_args, **_options):
        raise ValueError("Doe^Jane")

    for name in ("batch_report.make_batch_report", "image_report.make_image_report"):
        monkeypatch.setattr(f"covid_monai.results.pdf.{name}", fail)
    output, report = tmp_path / "out.jsonl", tmp_path / "report.pdf"
    files = sorted(images.glob("*.dcm"))[:number]
    code, _, err = run("predict", "--bundle", bundle, "--report", report, "--output", output, *files)
    assert code == 1
    assert len(output.read_text().splitlines()) == number
    assert f"{report}: the report was not written (ValueError)" in err
    assert "Doe^Jane" not in err
    assert not report.exists()


def test_without_the_option_nothing_is_written(run, bundle, images, tmp_path):
    run("predict", "--bundle", bundle, "--json", images / "a.dcm")
    assert {path.name for path in tmp_path.iterdir()} == {"images"}


def test_json_lines_on_the_terminal_stay_clean(run, bundle, images, tmp_path):
    dicom = tmp_path / "dicom"
    code, out, _ = run("predict", "--bundle", bundle, "--json", "--dicom-output", dicom, images / "a.dcm")
    assert code == 0
    assert json.loads(out)["status"] == "ok"


def test_pdf_asks_for_a_folder(run, bundle, images):
    code, _, err = run("predict", "--bundle", bundle, "--pdf", images)
    assert code == 2
    assert "--pdf needs --dicom-output DIR" in err


def test_a_file_is_no_folder(run, bundle, images, tmp_path):
    (tmp_path / "taken").touch()
    code, _, err = run("predict", "--bundle", bundle, "--dicom-output", tmp_path / "taken", images)
    assert code == 2
    assert "is a file. Name a folder" in err


@pytest.mark.slow
@NEEDS_POPPLER
def test_one_image_gets_a_page_and_several_a_table(run, bundle, images, tmp_path):
    reports = {"one.pdf": images / "picture.png", "new/all.pdf": images}
    for name, path in reports.items():
        _, out, err = run("predict", "--bundle", bundle, "--json", "--report", tmp_path / name, path)
        assert f"Report: {tmp_path / name}" in err
        assert len(out.splitlines()) == (1 if name == "one.pdf" else 6)
    page, table = (poppler("pdftotext", tmp_path / name, "-").decode() for name in reports)
    assert "not known: no DICOM header" in page
    assert "Image as displayed" in page
    assert "Doe_Jane.dcm" in table
    assert "Page 1 of 1" in table
    assert "Image as displayed" not in table
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "new", "one.pdf"]


@pytest.mark.parametrize(("name", "words"), [("a.txt", "ends in .pdf"), ("d.pdf", "ends in .pdf")])
def test_a_report_is_a_pdf_file(run, bundle, images, tmp_path, name, words):
    (tmp_path / "d.pdf").mkdir()
    code, out, err = run("predict", "--bundle", bundle, "--report", tmp_path / name, images)
    assert (code, out) == (2, "")
    assert words in err


def test_a_report_of_an_archive_is_refused_before_any_work(run, bundle, images, tmp_path, monkeypatch):
    monkeypatch.setattr("covid_monai.results.pdf.batch_report.LARGEST_BATCH", 5)
    code, out, err = run("predict", "--bundle", bundle, "--report", tmp_path / "all.pdf", images)
    assert (code, out) == (2, "")
    assert "--report is for 5 images at most, but there are 6 files" in err


@pytest.mark.parametrize("package", ["highdicom", "fpdf", "uharfbuzz"])
def test_a_missing_extra_is_named(run, bundle, images, tmp_path, monkeypatch, package):
    for name in [name for name in sys.modules if name.startswith("covid_monai.results")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    code, _, err = run("predict", "--bundle", bundle, "--dicom-output", tmp_path / "dicom", images)
    assert code == 2
    assert "pip install 'covid-monai[dicom]'" in err
    assert "[train" not in err
    assert not (tmp_path / "dicom").exists()
