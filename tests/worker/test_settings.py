"""Settings in `worker.yaml`: which are accepted, and how mistakes are reported."""

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from covid_monai.cli.main import app
from covid_monai.worker.rules import Rules
from covid_monai.worker.settings import SettingsError, load_settings

ARCHIVE = {"name": "main", "source": "orthanc", "url": "http://127.0.0.1:8042"}


def written(tmp_path, content):
    path = tmp_path / "worker.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def complaint(tmp_path, **content):
    path = written(tmp_path, {"state_dir": str(tmp_path), "archives": [ARCHIVE], **content})
    with pytest.raises(SettingsError) as caught:
        load_settings(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def with_archive(tmp_path, **more):
    return complaint(tmp_path, archives=[{**ARCHIVE, **more}])


def test_the_example_is_valid():
    settings = load_settings(Path(__file__).parents[2] / "deploy" / "worker" / "worker.yaml")
    assert settings.rules == Rules()
    assert settings.archives[0].source == "orthanc"


def test_a_misspelled_key_is_named_with_the_allowed_keys(tmp_path):
    message = with_archive(tmp_path, pol_seconds=3)
    assert "archives.0: Unknown key 'pol_seconds'. Did you mean 'poll_seconds'?" in message
    assert "Choose one of: name, url, username" in message
    assert "limits: Unknown key 'object_mb'. Did you mean 'object_mib'?" in complaint(
        tmp_path, limits={"object_mb": 1}
    )
    assert "archives.0.rules: Unknown key 'view'" in with_archive(tmp_path, rules={"view": ["PA"]})


def test_every_mistake_is_named_at_once(tmp_path):
    message = complaint(tmp_path, batch_size=0, colour="red")
    assert "batch_size: must be greater than or equal to 1" in message
    assert "top level: Unknown key 'colour'" in message


@pytest.mark.parametrize("key", ["password", "token"])
def test_a_secret_in_the_file_is_refused_and_not_repeated(tmp_path, key):
    message = with_archive(tmp_path, **{key: "hunter2"})
    assert "no secrets in this file" in message
    assert "password_file" in message
    assert "hunter2" not in message


def test_credentials_in_an_address_are_refused_and_not_repeated(tmp_path):
    message = with_archive(tmp_path, url="https://me:hunter2@pacs.example")
    assert "archives.0.url: no credentials in an address" in message
    assert "hunter2" not in message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"url": "pacs.example"}, "give a full address"),
        ({"source": "dimse"}, "must be 'orthanc' or 'dicomweb'"),
        ({"username": "me"}, "username goes with password_env or password_file"),
        ({"password_env": "A", "token_file": "b"}, "give one of password_env, token_file"),
        ({"source": "dicomweb", "event": "stable_series"}, "are for source: orthanc"),
        ({"source": "dicomweb", "rules": {"ae_titles": ["CR1"]}}, "ae_titles needs source: orthanc"),
        ({"client_key": "key.pem"}, "client_key goes with client_certificate"),
        ({"name": "../etc"}, "archives.0.name: must be letters, digits"),
    ],
)
def test_values_that_do_not_fit_together_are_an_error(tmp_path, change, words):
    assert words in with_archive(tmp_path, **change)


@pytest.mark.parametrize(("days", "keep_days"), [(90, 90), (100, None), (3650, 3650), (30, 7)])
def test_what_a_search_finds_must_not_be_forgotten(tmp_path, days, keep_days):
    limits = {} if keep_days is None else {"keep_days": keep_days}
    message = complaint(tmp_path, archives=[{**ARCHIVE, "source": "dicomweb", "days": days}], limits=limits)
    assert f"limits.keep_days ({keep_days or 90}) must exceed the days ({days}) of archive main" in message
    assert f"Set keep_days to {days + 1} or more" in message


def test_keep_days_need_not_exceed_days_without_a_search(tmp_path):
    content = {"state_dir": str(tmp_path), "archives": [{**ARCHIVE, "days": 3650}]}
    assert load_settings(written(tmp_path, content)).limits.keep_days == 90
    content["archives"][0]["source"], content["limits"] = "dicomweb", {"keep_days": 3651}
    assert load_settings(written(tmp_path, content)).archives[0].days == 3650


@pytest.mark.parametrize(
    ("given", "seconds"),
    [({}, 60), ({"poll_seconds": 300}, 300), ({"poll_seconds": 30, "full_search_seconds": 30}, 30)],
)
def test_full_searches_have_an_interval_of_their_own(tmp_path, given, seconds):
    content = {"state_dir": str(tmp_path), "archives": [{**ARCHIVE, **given}]}
    assert load_settings(written(tmp_path, content)).archives[0].seconds_between_full_searches == seconds


def test_a_full_search_more_often_than_others_is_refused(tmp_path):
    message = with_archive(tmp_path, poll_seconds=30, full_search_seconds=10)
    assert "full_search_seconds (10) must be at least poll_seconds (30)" in message


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("poll_seconds", (0, -1, float("nan"), float("inf"))),
        ("full_search_seconds", (0, -1, float("nan"), float("inf"))),
        ("days", (0, -1)),
        ("connections", (0,)),
        ("timeout_seconds", (0, float("inf"))),
    ],
)
def test_an_interval_that_is_none_is_refused(tmp_path, key, values):
    for value in values:
        assert f"archives.0.{key}: must be" in with_archive(tmp_path, **{key: value})


def test_one_archive_under_two_names_is_refused(tmp_path):
    other = {**ARCHIVE, "name": "other", "source": "dicomweb", "url": "http://127.0.0.1:8042/dicom-web/"}
    message = complaint(tmp_path, archives=[ARCHIVE, other])
    assert "archives main and other have the same address http://127.0.0.1:8042/dicom-web" in message


@pytest.mark.parametrize("name", ["spool/audit.jsonl", "queue.sqlite", "lock"])
def test_the_audit_trail_is_no_file_of_the_worker_itself(tmp_path, name):
    assert "audit.file: the worker itself uses" in complaint(tmp_path, audit={"file": str(tmp_path / name)})


def test_a_host_name_is_not_an_address_for_monitoring(tmp_path):
    words = "monitoring.host: must be an IP address, such as 127.0.0.1"
    assert words in complaint(tmp_path, monitoring={"host": "localhost"})


def test_two_archives_of_one_name_are_refused(tmp_path):
    assert "a name of its own" in complaint(tmp_path, archives=[ARCHIVE, ARCHIVE])


@pytest.mark.parametrize(
    ("text", "words"), [("a: [", "not valid YAML in line"), ("- 1", "expected keys such as")]
)
def test_a_file_without_a_configuration_is_an_error(tmp_path, text, words):
    with pytest.raises(SettingsError, match=words):
        load_settings(written(tmp_path, text))


def test_the_command_names_the_unknown_key(tmp_path):
    path = written(tmp_path, {"state_dir": "s", "archives": [ARCHIVE], "typo": 1})
    result = CliRunner().invoke(app, ["worker", "check", "--config", str(path)])
    assert isinstance(result.exception, ValueError)
    assert "top level: Unknown key 'typo'" in str(result.exception)
