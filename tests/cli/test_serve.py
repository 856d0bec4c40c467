"""The command serve: which limits and addresses the service gets; api/test_server.py serves it."""

import sys

import pytest

from covid_monai.api.access import Access, ApiKeys
from covid_monai.api.server import listen
from covid_monai.cli.serve import run_announced
from covid_monai.core.vocabulary import RESEARCH_USE

KEY = "0123456789abcdef-planted"


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
    assert (settings.access, settings.dicomweb_roots) == (Access(), ())
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
        (("--public-url", "https://images.example/covid"), "without a path"),
        (("--api-key-file", "no-such-file"), "no-such-file"),
        (("--requests-per-minute", "0"), "--requests-per-minute"),
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


def test_names_keys_and_the_rate_are_those_that_were_given(started, tmp_path):
    keys = tmp_path / "keys"
    keys.touch(mode=0o600)
    keys.write_text(f"ward: {KEY}\n")
    options = ("--api-key-file", keys, "--requests-per-minute", 5, "--public-url", "https://a.example")
    (code, _, err), served = started(*options)
    assert (code, served) == (2, {})
    assert KEY not in err
    keys.write_text(f"ward:{KEY}\n")
    (code, _, _), served = started(*options, "--public-url", "http://b.example:81/")
    access = served["settings"].access
    assert code == 0
    assert access.loopback
    assert access.public_urls == ("https://a.example", "http://b.example:81/")
    assert access.requests_per_minute == 5
    assert access.keys.name_of(f"Bearer {KEY}") == "ward"


@pytest.mark.parametrize(
    ("access", "words"),
    [
        (Access(), ""),
        (Access(loopback=False), "Warning: other machines can reach this service, and it has no login."),
        (
            Access(loopback=False, keys=ApiKeys({"ward": KEY})),
            "Warning: other machines can reach this service, and images and API keys travel unencrypted.",
        ),
    ],
    ids=["loopback", "no-key", "key"],
)
def test_who_can_be_reached_by_others_is_warned(monkeypatch, capsys, access, words):
    served = []
    monkeypatch.setattr("covid_monai.api.server.run", lambda *arguments: served.append(arguments))
    with listen("127.0.0.1", 0) as listening:
        run_announced("app", listening, "Open {0}; {0}/docs.", access)
        port = listening.getsockname()[1]
        assert served == [("app", listening)]
    out, err = capsys.readouterr()
    assert out == f"Open http://127.0.0.1:{port}; http://127.0.0.1:{port}/docs. {RESEARCH_USE}\n"
    assert err.startswith(words)
    assert bool(err) is bool(words)
