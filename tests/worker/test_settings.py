"""`worker.yaml`: what is accepted, and how a mistake is told."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from covid_monai.cli.main import app
from covid_monai.pacs.connection import CredentialsError
from covid_monai.worker.rules import Rules
from covid_monai.worker.settings import Archive, SettingsError, load_settings

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


def test_a_misspelled_key_is_named_with_what_is_meant_and_allowed(tmp_path):
    message = with_archive(tmp_path, pol_seconds=3)
    assert "archives.0.pol_seconds: unknown key. Do you mean poll_seconds?" in message
    assert "Allowed here: name, url, username" in message
    assert "limits.object_mb: unknown key. Do you mean object_mib?" in complaint(
        tmp_path, limits={"object_mb": 1}
    )
    assert "archives.0.rules.view: unknown key" in with_archive(tmp_path, rules={"view": ["PA"]})


def test_every_mistake_is_named_at_once(tmp_path):
    message = complaint(tmp_path, batch_size=0, colour="red")
    assert "batch_size: Input should be greater than or equal to 1" in message
    assert "colour: unknown key" in message


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
        ({"source": "dimse"}, "Input should be 'orthanc' or 'dicomweb'"),
        ({"username": "me"}, "username goes with password_env or password_file"),
        ({"password_env": "A", "token_file": "b"}, "give one of password_env, token_file"),
        ({"source": "dicomweb", "event": "stable_series"}, "are for source: orthanc"),
        ({"source": "dicomweb", "rules": {"ae_titles": ["CR1"]}}, "ae_titles needs source: orthanc"),
        ({"client_key": "key.pem"}, "client_key goes with client_certificate"),
        ({"name": "../etc"}, "archives.0.name"),
    ],
)
def test_what_does_not_go_together_is_said(tmp_path, change, words):
    assert words in with_archive(tmp_path, **change)


def test_two_archives_of_one_name_are_refused(tmp_path):
    assert "a name of its own" in complaint(tmp_path, archives=[ARCHIVE, ARCHIVE])


@pytest.mark.parametrize(
    ("text", "words"), [("a: [", "not valid YAML in line"), ("- 1", "expected keys such as")]
)
def test_what_is_no_configuration_is_said(tmp_path, text, words):
    with pytest.raises(SettingsError, match=words):
        load_settings(written(tmp_path, text))


def test_the_command_says_it_in_one_line_and_exits_with_2(tmp_path):
    path = written(tmp_path, {"state_dir": "s", "archives": [ARCHIVE], "typo": 1})
    result = CliRunner().invoke(app, ["worker", "check", "--config", str(path)])
    assert isinstance(result.exception, ValueError)
    assert "typo: unknown key" in str(result.exception)


def test_secrets_come_from_a_variable_or_a_file(tmp_path, monkeypatch):
    (tmp_path / "token").write_text("of-a-file\n")
    monkeypatch.setenv("PASSWORD_OF_MAIN", "of-a-variable")
    assert Archive(**ARCHIVE, token_file=tmp_path / "token").read_secret() == "of-a-file"
    assert Archive(**ARCHIVE, username="me", password_env="PASSWORD_OF_MAIN").read_secret() == "of-a-variable"
    with pytest.raises(CredentialsError, match="environment variable NOT_SET holds no secret"):
        Archive(**ARCHIVE, token_env="NOT_SET").read_secret()


@pytest.mark.parametrize(
    ("attributes", "refusal"),
    [
        ({"Modality": "CR", "BodyPartExamined": "chest ", "ViewPosition": "pa"}, None),
        ({"Modality": "CT"}, "modalities"),
        ({"Modality": ""}, "modalities"),
        ({"Modality": "DX", "ViewPosition": ""}, None),
        ({"Modality": "DX", "ViewPosition": "LL"}, "views"),
        ({"Modality": "DX", "BodyPartExamined": "KNEE"}, "body_parts"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.33"}, "sop_classes"),
        ({"Modality": "CR", "ManufacturerModelName": "covid-monai results"}, "own_result"),
    ],
)
def test_the_default_rules_take_frontal_chest_images(attributes, refusal):
    assert Rules().refusal(attributes) == refusal


def test_rules_may_name_senders_stations_and_what_a_missing_value_means():
    rules = Rules(ae_titles=["CR*"], stations=["ROOM1"], missing="refuse")
    assert rules.refusal({"RemoteAET": "cr7", "StationName": "Room1"}) is None
    assert rules.refusal({"RemoteAET": "DX1", "StationName": "ROOM1"}) == "ae_titles"
    assert rules.refusal({"RemoteAET": "", "StationName": "ROOM1"}) == "ae_titles"
    assert rules.refusal({"StationName": ""}) == "stations"


@given(st.text(max_size=80))
def test_no_text_but_a_uid_gets_past_the_rules(text):
    notice = judged(Rules(), {"Modality": "CR"}, study="1.2", series="1.3", instance=text)
    is_uid = 0 < len(text) <= 64 and all(part.isascii() and part.isdigit() for part in text.split("."))
    assert (notice.refusal is None) == is_uid


@pytest.mark.parametrize("uid", ["../../etc/passwd", "1.2/../3", "1.2%2f", "1.2\n", "", "1..2", "1.2." * 20])
def test_a_uid_with_path_characters_is_refused(uid):
    assert judged(Rules(), {}, study=uid, series="1.2", instance="1.3").refusal == "malformed_uid"
