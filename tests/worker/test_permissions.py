"""Who else can read or change what the worker uses: each kind of file, each kind of right."""

import os
import stat

import pytest

from covid_monai.worker.permissions import find_loose_permissions
from covid_monai.worker.settings import Archive, Settings

PRIVATE = ("password", "token", "key.pem", "state", "state/spool", "state/audit.key", "audit.jsonl")
PRIVATE += ("state/queue.sqlite", "state/queue.sqlite-wal", "state/queue.sqlite-shm")
PUBLIC = ("worker.yaml", "ca.pem", "certificate.pem", "bundle")  # others may read them


@pytest.fixture
def place(tmp_path):
    """A folder with all files of the worker as they should be; a function that says what is wrong."""
    for name in (*PRIVATE, *PUBLIC):
        path = tmp_path / name
        if "." in name or name in ("password", "token"):
            path.touch(0o600)
        else:
            path.mkdir(0o700)
    tmp_path.chmod(0o755)
    archives = [
        Archive(
            name=name,
            source="orthanc",
            url=f"https://127.0.0.1/{name}",
            username="u" if secret == "password" else None,
            ca_file=tmp_path / "ca.pem",
            client_certificate=tmp_path / "certificate.pem",
            client_key=tmp_path / "key.pem",
            **{f"{secret}_file": tmp_path / secret},
        )
        for name, secret in (("a", "password"), ("b", "token"))
    ]
    settings = Settings(
        state_dir=tmp_path / "state",
        audit={"file": tmp_path / "audit.jsonl"},
        bundle=tmp_path / "bundle",
        archives=archives,
    )

    def say():
        return list(find_loose_permissions(settings, tmp_path / "worker.yaml"))

    assert say() == []
    return tmp_path, say


def loosen(path, bits):
    path.chmod(stat.S_IMODE(path.stat().st_mode) | bits)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*PRIVATE, *PUBLIC])
@pytest.mark.parametrize(
    ("bits", "able"),
    [
        *((bits, "read") for bits in (0o040, 0o004, 0o044)),
        *((bits, "change") for bits in (0o020, 0o002)),
        (0o066, "read and change"),
    ],
)
def test_each_right_of_others_is_named_with_its_remedy(place, name, bits, able):
    folder, say = place
    path = folder / name
    loosen(path, bits)
    able = "change" if name in PUBLIC and bits == 0o066 else able
    if name in PUBLIC and able == "read":
        assert say() == []
        return
    sentences = [text for text in say() if text.startswith("Other users")]
    (sentence,) = sentences
    assert sentence.startswith(f"Other users can {able} {path}. Run: chmod ")
    command = sentence.partition("Run: ")[2].split()
    assert os.spawnvp(os.P_WAIT, command[0], command) == 0
    assert say() == []


def test_a_folder_in_which_all_may_replace_files_is_named(place):
    folder, say = place
    loosen(folder, 0o002)
    assert say() == [f"Every user can replace files in {folder}. Run: chmod o-w {folder}"]
    loosen(folder, stat.S_ISVTX)
    assert say() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
@pytest.mark.parametrize("name", ["password", "state/audit.key", "audit.jsonl", "worker.yaml", "bundle"])
def test_a_file_of_another_user_is_named(place, name):
    folder, say = place
    os.chown(folder / name, 12345, -1)
    assert any(text.startswith(f"{folder / name} belongs to another user") for text in say())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_root_accepts_the_user_of_the_service(place):
    folder, say = place
    for name in ("state", *(name for name in PRIVATE if "/" in name), "audit.jsonl"):
        os.chown(folder / name, 12345, -1)
    assert say() == []


def test_what_a_link_leads_to_is_judged_and_a_link_of_another_user_is_named(place):
    folder, say = place
    real = folder / "elsewhere"
    real.mkdir(0o777)
    real.chmod(0o777)
    (folder / "password").rename(real / "password")
    (folder / "password").symlink_to(real / "password")
    assert say() == [f"Every user can replace files in {real}. Run: chmod o-w {real}"]
    real.chmod(0o700)
    assert say() == []
    if os.geteuid() == 0:
        os.chown(folder / "password", 12345, -1, follow_symlinks=False)
        (sentence,) = say()
        assert sentence.startswith(f"{folder / 'password'} is a link of another user")


def test_a_link_that_leads_nowhere_or_in_a_circle_is_no_crash(place):
    folder, say = place
    (folder / "password").unlink()
    (folder / "password").symlink_to(folder / "nothing")
    assert say() == []
    (folder / "token").unlink()
    (folder / "token").symlink_to("token")
    assert say() == []


def test_what_does_not_exist_yet_is_no_finding(place):
    folder, say = place
    for name in ("state/queue.sqlite", "state/audit.key", "audit.jsonl", "worker.yaml"):
        (folder / name).unlink()
    assert say() == []
