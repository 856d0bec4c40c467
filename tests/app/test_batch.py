"""A batch without a browser: order, failures, speed, CSV."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prediction_helpers import MODEL, NAMES, REFUSED, prediction

from covid_monai.api.uploads import Limits, MemoryBudget, Upload
from covid_monai.app.batch import Batch, classify
from covid_monai.app.session import ClassifiedImage
from covid_monai.app.sources import ServerFile
from covid_monai.core.memory_file import memory_file
from covid_monai.core.vocabulary import Status
from covid_monai.inference.output import open_output

BUDGET = MemoryBudget(1000)


class ReadsAhead:
    """As the engine: takes some uploads ahead of what it gives back."""

    classifier = SimpleNamespace(model=MODEL)

    def __init__(self, ahead):
        self._ahead, self.closed = ahead, False

    def read(self, upload, function):
        with memory_file(upload.data) as path:
            return function(path)

    def predict(self, uploads):
        waiting = []
        try:
            for upload in uploads:
                waiting.append(upload)
                if len(waiting) > self._ahead:
                    yield replace(REFUSED, file=waiting.pop(0).name)
            for upload in waiting:
                yield replace(REFUSED, file=upload.name)
        finally:
            self.closed = True


@given(there=st.lists(st.booleans(), max_size=12), ahead=st.integers(0, 5))
def test_images_come_in_their_order_whichever_cannot_be_had(tmp_path_factory, there, ahead):
    folder = tmp_path_factory.getbasetemp()
    names = [f"{i}.png" for i in range(len(there))]
    sources = [
        Upload(name, b"no image") if is_there else ServerFile(folder / "gone", name, Limits(), BUDGET)
        for name, is_there in zip(names, there, strict=True)
    ]
    images = list(classify(ReadsAhead(ahead), sources))
    assert [image.prediction.file for image in images] == names
    expected = [Status.REFUSED if is_there else Status.ERROR for is_there in there]
    assert [image.prediction.status for image in images] == expected
    lost = [image.prediction.detail for image in images if image.prediction.status is Status.ERROR]
    assert all("No such file" in detail and str(folder) not in detail for detail in lost)


def test_file_on_the_server_that_is_too_large_is_an_error_and_is_not_read(tmp_path):
    (tmp_path / "large.png").write_bytes(b"x" * 100)
    source = ServerFile(tmp_path / "large.png", "large.png", Limits(max_file_bytes=10), BUDGET)
    (image,) = classify(ReadsAhead(0), [source])
    assert image.prediction.status is Status.ERROR
    assert "larger than" in image.prediction.detail


def test_closed_batch_asks_the_engine_for_nothing_more():
    engine = ReadsAhead(1)
    images = classify(engine, (Upload(f"{i}", b"") for i in range(1000)))
    next(images)
    images.close()
    assert engine.closed


def test_csv_of_a_batch_is_the_file_that_predict_writes(tmp_path):
    records = [prediction(), prediction("odd,\"name'.png", decided="uncertain", prediction_set=[]), REFUSED]
    with open_output(tmp_path / "results.csv", class_names=NAMES) as write:
        for record in records:
            write(record)
    batch = Batch(3, [ClassifiedImage(Upload(record.file, b""), record) for record in records])
    assert batch.to_csv(NAMES) == (tmp_path / "results.csv").read_bytes()


def test_time_left_follows_from_the_speed():
    batch = Batch(30)
    assert batch.seconds_left is None
    batch._started -= 10  # ten seconds ago
    batch.images = [ClassifiedImage(Upload("a", b""), REFUSED)] * 20
    assert batch.images_per_second == pytest.approx(2, rel=0.01)
    assert batch.seconds_left == pytest.approx(5, rel=0.01)
