"""Parts of the page without a browser: where images come from, operating points, figures."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covid_monai.api.uploads import LimitExceeded, Limits, Upload, UploadError
from covid_monai.app import remote
from covid_monai.app.folder import folders_below, images_in, read_upload
from covid_monai.app.remote import FetchError, fetch
from covid_monai.app.room import Room
from covid_monai.app.widgets.figures import read_figures
from covid_monai.app.widgets.operating_points import choices, of_thousand
from covid_monai.app.widgets.roc import roc_svg
from covid_monai.app.widgets.status import LEGEND, look_of
from covid_monai.bundle import Bundle
from covid_monai.core.vocabulary import Status
from covid_monai.evaluation.decisions.operating_point import call
from covid_monai.inference.prediction import Prediction

SHIPPED = Path(__file__).parents[2] / "bundles" / "covid_cxr_classification"
share = st.floats(0, 1)


class Answers(BaseHTTPRequestHandler):
    """A web server with an image, a redirect to it, a redirect elsewhere, and a body without end."""

    def do_GET(self):
        moved = {"/moved": "/image.png", "/away": "http://169.254.169.254/secret", "/loop": "/loop"}
        if self.path in moved:
            self.send_response(302)
            self.send_header("Location", moved[self.path])
            self.end_headers()
            return
        self.send_response(200 if self.path in ("/image.png", "/endless") else 404)
        self.end_headers()
        try:
            for _ in range(1 if self.path == "/image.png" else 10_000):
                self.wfile.write(b"image" * 1000)
        except OSError:
            pass

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def site():
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_named_host_is_fetched_from_also_after_a_redirect(site):
    for path in ("/image.png", "/moved"):
        assert fetch(site + path, Limits(), {"127.0.0.1"}) == ("image.png", b"image" * 1000)


@pytest.mark.parametrize(
    "url",
    [
        *("http://127.0.0.1:1/x", "http://localhost/x", "http://[::1]/x", "http://10.0.0.1/x", "http://0/x"),
        *("http://169.254.169.254/latest/meta-data", "http://[::ffff:127.0.0.1]/x", "http://2130706433/"),
        *(
            "file:///etc/passwd",
            "ftp://example.org/x",
            "http://user:word@example.org/",
            "http://",
            "nonsense",
        ),
        *("http://example.org:nonsense/", "http://[bad/"),
    ],
)
def test_nothing_private_and_no_other_scheme_is_fetched(url):
    with pytest.raises(FetchError, match=r"private network|Give a URL|no URL|no host"):
        fetch(url, Limits())


def test_a_redirect_to_a_private_address_is_not_followed(site):
    with pytest.raises(FetchError, match="private network"):
        fetch(site + "/away", Limits(), {"127.0.0.1"})
    with pytest.raises(FetchError, match="redirects"):
        fetch(site + "/loop", Limits(), {"127.0.0.1"})
    with pytest.raises(FetchError, match="404"):
        fetch(site + "/nothing", Limits(), {"127.0.0.1"})


def test_a_name_that_resolves_to_public_and_private_addresses_is_refused(monkeypatch):
    found = [(2, 1, 6, "", (address, 80)) for address in ("1.1.1.1", "192.168.0.1")]
    monkeypatch.setattr(remote.socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(FetchError, match="private network"):
        fetch("http://both.example/", Limits())


def test_a_body_without_end_is_not_read_to_its_end(site):
    with pytest.raises(LimitExceeded):
        fetch(site + "/endless", Limits(max_file_bytes=100_000), {"127.0.0.1"})


def test_only_what_lies_below_the_folder_can_be_chosen(tmp_path):
    root, outside = tmp_path / "images", tmp_path / "outside"
    for folder in (root / "ward" / "deep", root / ".hidden", outside):
        folder.mkdir(parents=True)
        (folder / "image.png").write_bytes(b"image")
    (root / "escape").symlink_to(outside)
    (root / "ward" / "linked.png").symlink_to(outside / "image.png")
    assert folders_below(root) == [".", "escape", "ward", "ward/deep"]
    assert [file.parent.name for file in images_in(root, "ward", Limits())] == ["deep"]
    assert read_upload(root / "ward" / "deep" / "image.png", Limits()).data == b"image"
    for chosen in ("..", "../outside", "/etc", str(outside), "escape", "missing", "ward/deep/image.png"):
        with pytest.raises(UploadError):
            images_in(root, chosen, Limits())
    with pytest.raises(LimitExceeded):
        images_in(root, "ward", Limits(max_files=0))
    with pytest.raises(LimitExceeded):
        read_upload(root / "ward" / "deep" / "image.png", Limits(max_file_bytes=3))


@given(sensitivity=share, specificity=share, prevalence=st.floats(0.001, 0.9))
def test_a_thousand_images_are_a_thousand(sensitivity, specificity, prevalence):
    count = of_thousand(sensitivity, specificity, prevalence)
    parts = (count.found, count.missed, count.wrongly_called, count.spared)
    assert sum(parts) == 1000
    assert min(parts) >= 0
    assert count.found == pytest.approx(1000 * prevalence * sensitivity, abs=1)


def test_operating_points_decide_as_evaluation_does():
    point = Bundle(SHIPPED).operating_point
    offered = choices(point, point.class_names)
    assert [choice.class_name for choice in offered] == [None, *reversed(point.class_names)]
    row = {"normal": 0.2, "pneumonia": 0.35, "covid": 0.45}
    model = {"name": "m", "version": "1", "weights_sha256": "0", "preprocessing_digest": "0"}
    image = Prediction(file="f", status=Status.OK, model=model, probabilities=row, prediction_set=["covid"])
    assert offered[0].decide(image)["class"] == "covid"
    for choice in offered[1:]:
        called = bool(call([list(row.values())], point, choice.class_name)[0])
        assert (choice.decide(image)["class"] == choice.class_name) == called
    assert [c.class_name for c in choices(None, ("no", "yes"))] == [None]


def test_the_shipped_bundle_carries_figures_of_its_own_weights():
    bundle = Bundle(SHIPPED)
    figures, about = read_figures(bundle)
    assert "988 test images of 624 patients" in about
    for choice in choices(bundle.operating_point, bundle.class_names):
        for name in bundle.class_names if choice.class_name is None else [choice.class_name]:
            rates = figures.rates(choice, name)
            curve = np.array(figures.curve(name))
            assert tuple(curve[0]) == (0, 0)
            assert tuple(curve[-1]) == (1, 1)
            assert np.trapezoid(curve[:, 1], curve[:, 0]) == pytest.approx(
                figures.auroc(name)["value"], abs=1e-3
            )
            if choice.class_name:  # a threshold of one probability lies on the curve
                x, y = 1 - rates["specificity"]["value"], rates["sensitivity"]["value"]
                assert curve[curve[:, 0] <= x + 1e-3, 1].max() == pytest.approx(y, abs=0.01)
            drawing = roc_svg(figures.curve(name), (rates["sensitivity"], rates["specificity"]), title="<b>")
            assert "roc-point" in drawing
            assert "<b>" not in drawing


def test_figures_of_other_weights_are_not_shown(tmp_path):
    bundle = Bundle(SHIPPED).copy_to(tmp_path / "mine")
    assert read_figures(bundle)[0] is None
    assert "no evaluation" in read_figures(bundle)[1]
    (bundle.root / "models").mkdir()
    bundle.checkpoint_path.write_bytes(b"other weights")
    (bundle.root / "evaluation").mkdir()
    text = (SHIPPED / "evaluation" / "metrics.json").read_bytes()
    (bundle.root / "evaluation" / "metrics.json").write_bytes(text)
    assert read_figures(bundle)[0] is None
    assert "other weights" in read_figures(bundle)[1]


def test_outcomes_differ_in_word_and_icon():
    assert len({look.words for look in LEGEND}) == len({look.icon for look in LEGEND}) == len(LEGEND) == 5
    model = {"name": "m", "version": "1", "weights_sha256": "0", "preprocessing_digest": "0"}
    kinds = {
        status: look_of(
            Prediction(file="f", status=status, model=model, predicted_class="normal", decision=None)
        ).kind
        for status in Status
    }
    assert kinds == {Status.OK: "normal", Status.REFUSED: "refused", Status.ERROR: "error"}


def test_room_is_free_again_when_nobody_refers_to_an_upload():
    room = Room()
    first = Upload("first", bytes(60))
    room.keep(first, 100)
    with pytest.raises(LimitExceeded):
        room.keep(Upload("second", bytes(60)), 100)
    assert room.held == 60
    first.__dict__["itself"] = first  # as in a page, where elements refer to each other
    del first
    room.keep(third := Upload("third", bytes(60)), 100)
    with pytest.raises(LimitExceeded), room.counting() as tally:
        tally.add(40, 100)
        tally.add(1, 100)
    assert room.held == len(third.data)
