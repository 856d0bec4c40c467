"""The command app: which models, folders and addresses the page gets; no page is served here."""

import sys

import pytest

from covid_monai.api.access import Access


@pytest.fixture
def started(run, bundle, monkeypatch):
    """Run the command up to the moment when it would serve; gives its outcome and what was to be served."""
    served = {}

    def create(context, access):
        served.update(context=context, access=access)
        return "page"

    def announce(page, listening, words, access):
        served.update(page=page, port=listening.getsockname()[1], words=words, announced=access)

    monkeypatch.setattr("covid_monai.app.server.create_app", create)
    monkeypatch.setattr("covid_monai.cli.app.run_announced", announce)

    def start(*options):
        return run("app", "--bundle", bundle.root, "--port", 0, "--backend", "torch", *options), served

    return start


def test_the_page_gets_one_model_and_is_reached_from_this_machine_only(started, bundle):
    (code, _, _), served = started()
    context = served["context"]
    assert code == 0
    assert list(context.models) == [f"{bundle.name} {bundle.metadata['version']}"]
    assert context.model.bundle.root == bundle.root
    assert (served["page"], served["access"], served["announced"]) == ("page", Access(), Access())
    assert served["port"] > 0
    assert "{0}/docs" in served["words"]
    assert (context.folder, context.allow_urls, context.url_hosts) == (None, False, frozenset())


def test_limits_folder_and_addresses_are_those_that_were_given(started, tmp_path):
    options = ("--folder", tmp_path, "--allow-urls", "--url-host", "pacs.example", "--url-host", "b.example")
    (code, _, _), served = started(*options, "--max-upload-mib", 3, "--fetch-seconds", 7, "--host", "0.0.0.0")
    context = served["context"]
    assert code == 0
    assert context.folder == tmp_path.resolve()
    assert (context.allow_urls, context.url_hosts) == (True, {"pacs.example", "b.example"})
    assert (context.limits.max_file_bytes, context.fetch_seconds) == (3 << 20, 7)
    assert served["access"] == served["announced"] == Access(loopback=False)


def test_two_models_of_one_name_are_told_apart_by_their_folders(started, bundle):
    (code, _, _), served = started("--compare", bundle.root)
    names = list(served["context"].models)
    assert code == 0
    assert names[1] == f"{names[0]} ({bundle.root.name})"
    assert [model.name for model in served["context"].models.values()] == names


def test_wrong_usage_is_told_before_anything_is_loaded(started, tmp_path, monkeypatch):
    monkeypatch.setattr("covid_monai.cli.app._load", lambda *_, **__: pytest.fail("loaded"))
    for options, words in (
        (("--folder", tmp_path / "no"), "is not a folder. Give the folder that holds the images."),
        (("--url-host", "pacs.example"), "no effect without --allow-urls"),
        (("--compare", tmp_path / "no"), str(tmp_path / "no")),
        (("--host", "192.0.2.1"), "--host"),
    ):
        (code, out, err), served = started(*options)
        assert (code, out, served) == (2, "", {})
        assert words in err


def test_the_missing_extra_is_named(started, monkeypatch):
    monkeypatch.setitem(sys.modules, "nicegui", None)
    (code, _, err), _ = started()
    assert code == 2
    assert "pip install 'covid-monai[app]'" in err
