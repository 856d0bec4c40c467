"""The parts of the tabs Batch, Model and Compare that need no browser."""

import gc
import json
import weakref
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from nicegui import Client, app
from nicegui.page import page
from results_helpers import SHIPPED

from covid_monai.api.uploads import Limits, Upload
from covid_monai.app.batch import Batch, BatchImage, Handed, OnServer, classify
from covid_monai.app.comparison import (
    FIRST_HOTTER,
    SECOND_HOTTER,
    agreement,
    difference_picture,
    probability_rows,
    shared_classes,
)
from covid_monai.app.dropzone import Dropzone
from covid_monai.app.model_card import model_card, render_card
from covid_monai.app.pages.evidence import find_evidence
from covid_monai.bundle import Bundle
from covid_monai.core.vocabulary import Status
from covid_monai.inference.grad_cam import ImageWithHeatmap
from covid_monai.inference.output import open_results
from covid_monai.inference.prediction import Prediction

MODEL = {"name": "m", "version": "1", "weights_sha256": "w", "preprocessing_digest": "p"}
MODEL |= {"backend": "torch"}
NAMES = ("normal", "covid")


def prediction(file="image.png", normal=0.25, decided="covid", **changes):
    record = Prediction(
        file=file,
        status=Status.OK,
        model=MODEL,
        predicted_class="covid",
        probabilities={"normal": normal, "covid": 1 - normal},
        prediction_set=["covid"],
        decision={"class": decided, "reason": None, "at_operating_point": decided, "rule": "r"}
        | {"thresholds": {"normal": 0.5, "covid": 0.5}},
    )
    return replace(record, **changes)


REFUSED = Prediction(
    file="hand.dcm", status=Status.REFUSED, model=MODEL, reason="not_a_chest", detail="hand.dcm: a hand."
)


class ReadsAhead:
    """As the engine: takes some uploads ahead of what it gives back."""

    classifier = SimpleNamespace(model=MODEL)

    def __init__(self, ahead):
        self._ahead, self.closed = ahead, False

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
        Handed(Upload(name, b"no image")) if is_there else OnServer(folder / "gone", name, Limits())
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
    source = OnServer(tmp_path / "large.png", "large.png", Limits(max_file_bytes=10))
    (image,) = classify(ReadsAhead(0), [source])
    assert image.prediction.status is Status.ERROR
    assert "larger than" in image.prediction.detail


def test_closed_batch_asks_the_engine_for_nothing_more():
    engine = ReadsAhead(1)
    images = classify(engine, (Handed(Upload(f"{i}", b"")) for i in range(1000)))
    next(images)
    images.close()
    assert engine.closed


def test_csv_of_a_batch_is_the_file_that_predict_writes(tmp_path):
    records = [prediction(), prediction("odd,\"name'.png", decided="uncertain", prediction_set=[]), REFUSED]
    with open_results(tmp_path / "results.csv", class_names=NAMES) as write:
        for record in records:
            write(record)
    batch = Batch(3, [BatchImage(record, None, Handed(Upload(record.file, b""))) for record in records])
    assert batch.to_csv(NAMES) == (tmp_path / "results.csv").read_bytes()


def test_time_left_follows_from_the_speed():
    batch = Batch(30)
    assert batch.seconds_left is None
    batch._started -= 10  # ten seconds ago
    batch.images = [BatchImage(REFUSED, None, Handed(Upload("a", b"")))] * 20
    assert batch.images_per_second == pytest.approx(2, rel=0.01)
    assert batch.seconds_left == pytest.approx(5, rel=0.01)


def heat(*rows):
    image = np.full((64, 64), 0.5, np.float32)
    return ImageWithHeatmap(image, np.array(rows, np.float32), np.diag([32.0, 32.0, 1.0]))


def test_difference_is_coloured_by_who_is_hotter_and_is_the_image_where_they_agree():
    same = difference_picture(heat([1, 0], [0, 0]), heat([1, 0], [0, 0]))
    assert np.ptp(same) == 0
    picture = difference_picture(heat([1, 0], [0, 0]), heat([0, 0], [0, 1])).astype(int)
    first, second = picture[0, 0] - same[0, 0], picture[-1, -1] - same[0, 0]
    assert np.dot(first, np.array(FIRST_HOTTER) - same[0, 0]) > 0 > first[2]
    assert np.dot(second, np.array(SECOND_HOTTER) - same[0, 0]) > 0 > second[0]
    # Who is first and who second changes the colours alone.
    turned = difference_picture(heat([0, 0], [0, 1]), heat([1, 0], [0, 0])).astype(int)
    assert np.dot(turned[0, 0] - same[0, 0], np.array(SECOND_HOTTER) - same[0, 0]) > 0


def test_two_answers_are_compared_class_by_class_and_in_words():
    other = prediction(normal=0.75, decided="normal", probabilities={"normal": 0.75, "flu": 0.25})
    rows = {row["class_name"]: row for row in probability_rows(prediction(), other)}
    assert rows["normal"]["difference"] == pytest.approx(0.5)
    assert rows["covid"]["second"] is rows["covid"]["difference"] is rows["flu"]["first"] is None
    assert shared_classes(prediction(), other) == ["normal"]
    assert agreement(prediction(), prediction(normal=0.1)) == "Both models say the same: COVID-19."
    assert agreement(prediction(), other) == "The models do not agree. First: COVID-19. Second: Normal."
    assert "Only the first" in agreement(prediction(), REFUSED)
    assert "not_a_chest" in agreement(REFUSED, prediction())
    assert agreement(REFUSED, REFUSED) == "Neither model classified the image."


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


MARKUP = [
    "<img src=x onerror=a()>",
    "![x](http://e.org/x.png)",
    "[x](javascript:a())",
    "<svg/onload=a()>",
    "<script>a()</script>",
    "&lt;script&gt;",
    "[y](data:text/html,x)",
    "[z](https://example.org)",
    "<https://example.org>",
    "<!--",
    "# a",
    "**b**",
    "`c`",
    "|a|b|\n|-|-|\n|1|2|",
    "\n\n",
    "    ",
]


@given(st.lists(st.sampled_from(MARKUP) | st.text(max_size=20), max_size=8).map("\n".join))
def test_model_card_of_a_stranger_holds_text_tables_and_plain_links_only(text):
    tags = Tags()
    tags.feed(render_card(text))
    words = {"p", "h1", "h2", "h3", "h4", "h5", "h6", "strong", "em", "code", "pre", "ul", "ol", "li", "hr"}
    words |= {"table", "thead", "tbody", "tr", "th", "td", "div", "a", "blockquote", "br"}
    for tag, attributes in tags.found:
        assert tag in words
        assert attributes.keys() <= {"href", "title", "class", "style", "start"}
        assert (
            not attributes.get("href", "").lower().startswith(("javascript:", "vbscript:", "data:", "file:"))
        )


def test_the_shipped_model_card_is_rendered_with_its_tables():
    html = model_card(Bundle(SHIPPED))
    assert html is not None
    assert "<strong>Do not believe the headline.</strong>" in html
    assert html.count("<table>") >= 4


def evaluated(tmp_path, **changes):
    (tmp_path / "configs").mkdir()
    for name in ("inference.yaml", "metadata.json"):
        (tmp_path / "configs" / name).write_bytes((SHIPPED / "configs" / name).read_bytes())
    figure = {"value": 0.5, "low": None, "high": None}
    of_class = {"support": 3, "auroc": figure, "sensitivity": figure, "specificity": figure}
    metrics = {
        "verdict": {"result": "r", "shortcuts": [{"sentence": "s", "shortcut": None}], "limits": ["l"]},
        "test": {"per_class": {"covid": of_class}},
        "roc": {"covid": {"one_minus_specificity": [0, 1], "sensitivity": [0, 1]}},
        "model": {"weights_sha256": "w"},
    } | changes
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "metrics.json").write_text(json.dumps(metrics))
    return Bundle(tmp_path)


def test_evidence_tells_whose_weights_it_is_of_and_closes_the_report(tmp_path):
    bundle = evaluated(tmp_path)
    (tmp_path / "evaluation" / "report.html").write_text("<html>the report</html>")
    found = find_evidence(bundle, "w")
    assert found is not None
    assert found.same_weights
    assert found.checks == (("s", None),)
    assert found.rocs == {"covid": [(0, 0), (1, 1)]}
    assert "default-src 'none'" in found.report
    assert found.report.endswith("the report</html>")
    other = find_evidence(bundle, "other")
    assert other is not None
    assert not other.same_weights


@pytest.mark.parametrize(
    "changes", [{"verdict": None}, {"test": {"per_class": {"covid": {}}}}, {"model": []}]
)
def test_evidence_that_is_not_one_is_left_out(tmp_path, changes, caplog):
    assert find_evidence(evaluated(tmp_path, **changes), "w") is None
    assert "no evaluation that can be shown" in caplog.text


def test_bundle_without_evaluation_has_no_evidence(tmp_path):
    bundle = evaluated(tmp_path)
    (tmp_path / "evaluation" / "metrics.json").unlink()
    assert find_evidence(bundle, "w") is None


def test_dropzone_is_gone_with_its_visitor():
    """FastAPI keeps handlers in caches of its own, beyond their routes."""

    class Visitor:
        def __init__(self):
            self.files = []
            self.zone = Dropzone(Limits(), on_files=self.take, on_rejected=self.files.append)

        def take(self, dropped):
            self.files += dropped.uploads

    client = Client(page("/for-this-test"), request=None)
    with client:
        visitor = Visitor()
    address = visitor.zone.props["url"]
    answer = TestClient(app).post(address, content=b"an image", headers={"X-File-Name": "image.dcm"})
    assert answer.json() == {"files": 1}
    assert visitor.files == [Upload("image.dcm", b"an image")]
    left = weakref.ref(visitor)
    client.delete()
    del visitor, client
    gc.collect()
    assert left() is None
    assert address not in {getattr(route, "path", "") for route in app.routes}
