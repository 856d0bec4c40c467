"""Connection settings of an archive: where the secrets come from, and which paths name an instance."""

import pytest

from covid_monai.pacs.connection import ArchiveConnection, CredentialsError, InstanceAddress

ADDRESS = {"name": "main", "url": "http://127.0.0.1:8042"}


def test_secrets_come_from_a_variable_or_a_file(tmp_path, monkeypatch):
    (tmp_path / "token").write_text("of-a-file\n")
    monkeypatch.setenv("PASSWORD_OF_MAIN", "of-a-variable")
    assert ArchiveConnection(**ADDRESS, token_file=tmp_path / "token").read_secret() == "of-a-file"
    connection = ArchiveConnection(**ADDRESS, username="me", password_env="PASSWORD_OF_MAIN")
    assert connection.read_secret() == "of-a-variable"
    with pytest.raises(CredentialsError, match="environment variable NOT_SET holds no secret"):
        ArchiveConnection(**ADDRESS, token_env="NOT_SET").read_secret()


@pytest.mark.parametrize(
    "path",
    [
        "/studies/1.2/series/1.3/instances/../../..",
        "/studies/1.2/series/1.3/instances/1.4/frames/1",
        "/studies/1..2/series/1.3/instances/1.4",
        "/studies/1.2/series/1.3/instances/1.4\n",
        "/studies/1.2/series/1.3",
        "",
    ],
)
def test_a_path_that_does_not_name_an_instance_gives_no_address(path):
    assert InstanceAddress.from_path(path) is None


def test_the_path_of_an_address_gives_the_address_back():
    address = InstanceAddress("1.2", "1.3", "1.4")
    assert InstanceAddress.from_path(address.path) == address
