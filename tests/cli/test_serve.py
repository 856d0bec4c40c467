"""The command serve: which limits and addresses the service gets; api/test_server.py serves it."""

import sys

import pytest

from covid_monai.api.server import listen
from covid_monai.cli.serve import run_announced
from covid_monai.core.vocabulary import RESEARCH_USE


@pytest.fixture
def started(run, bundle, monkeypatch):
    """Run the command up to the moment when it would serve; gives its outcome and what was to be served."""
    served = {}

    def create(engine, settings, budget):
        served.update(engine=engine, settings=settings, budget=budget)
        return "api"

    monkeypatch.setattr("covid_monai.api.application.create_api", create)
    monkeypatch.setattr("covid_monai.api.server.run", lambda app, _: served.update(app=app))

    def start(*options):
        return run("serve", "--bundle", bundle.root, "--port", 0, "--backend", "torch", *options), served

    return start


def test_the_service_is_for_this_machine_and_fetches_nothing_by_default(started):
    (code, out, err), served = started()
    settings = served["settings"]
    assert (code, served["app"]) == (0, "api")
    assert out.startswith("Serving at http://127.0.0.1:")
    assert RESEARCH_USE in out
    assert "Warning" not in err
    assert (settings.loopback, settings.dicomweb_roots) == (True, ())
    assert (settings.limits.max_file_bytes, settings.limits.max_files) == (64 << 20, 200)
    assert served["engine"].max_callers == 64
    assert not served["engine"].has_place() or served["budget"].held == 0


def test_limits_and_roots_are_those_that_were_given(started):
    (code, _, _), served = started(
        *("--max-upload-mib", 2, "--max-files", 7, "--max-requests", 3, "--fetch-seconds", 9),
        *("--dicomweb-root", "https://a/dicom-web/", "--dicomweb-root", "https://b"),
    )
    settings = served["settings"]
    assert code == 0
    assert (settings.limits.max_file_bytes, settings.limits.max_files) == (2 << 20, 7)
    assert settings.fetch_seconds == 9
    assert settings.dicomweb_roots == ("https://a/dicom-web", "https://b")
    assert served["engine"].max_callers == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--max-files", "0"), "--max-files"),
        (("--fetch-seconds", "0"), "--fetch-seconds"),
        (("--host", "192.0.2.1"), "--host"),
    ],
)
def test_wrong_usage_is_told_before_the_model_is_loaded(started, monkeypatch, options, words):
    monkeypatch.setattr("covid_monai.inference.classifier.Classifier", lambda *_, **__: pytest.fail("loaded"))
    (code, out, err), served = started(*options)
    assert (code, out, served) == (2, "", {})
    assert words in err


@pytest.mark.parametrize("package", ["uvicorn", "fastapi_offline", "python_multipart"])
def test_the_missing_extra_is_named(started, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    (code, _, err), _ = started()
    assert code == 2
    assert "pip install 'covid-monai[service]'" in err


@pytest.mark.parametrize("loopback", [True, False])
def test_who_can_be_reached_by_others_is_warned(monkeypatch, capsys, loopback):
    served = []
    monkeypatch.setattr("covid_monai.api.server.run", lambda *arguments: served.append(arguments))
    with listen("127.0.0.1", 0) as listening:
        run_announced("app", listening, "Open {0}; {0}/docs.", loopback=loopback)
        port = listening.getsockname()[1]
        assert served == [("app", listening)]
    out, err = capsys.readouterr()
    assert out == f"Open http://127.0.0.1:{port}; http://127.0.0.1:{port}/docs. {RESEARCH_USE}\n"
    assert ("other machines can reach this service, and it has no login" in err) is not loopback
