"""Who else on this machine can read or replace the worker's passwords, keys, queue and audit trail."""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from covid_monai.worker.audit import KEY_FILE
from covid_monai.worker.queue import queue_path
from covid_monai.worker.settings import Archive, Settings

_OTHERS_READ, _OTHERS_WRITE, _WORLD_WRITES = 0o044, 0o022, 0o002


def find_loose_permissions(settings: Settings, config: Path) -> Iterator[str]:
    """Yield one sentence for each file or folder that others can read or change, with what to do."""
    owners = {0, os.geteuid()}
    state = _stat(settings.state_dir)
    if os.geteuid() == 0 and state:  # root checks what a user of its own will run
        owners.add(state.st_uid)
    problems = (
        problem
        for path, is_private in _files(settings, config)
        for problem in _problems(path, owners, is_private=is_private)
    )
    yield from dict.fromkeys(problems)  # files of one folder share its problems


def _files(settings: Settings, config: Path) -> Iterator[tuple[Path, bool]]:
    """Yield what the worker uses, and whether others must not even read it."""
    yield config, False  # it holds no secret, but it says where the credentials are sent
    if settings.bundle:
        yield settings.bundle, False
    for archive in settings.archives:
        yield from _files_of(archive)
    queue = queue_path(settings.state_dir)
    private = (settings.state_dir, settings.spool_dir, settings.state_dir / KEY_FILE, settings.audit_file)
    for path in (*private, *(queue.with_name(queue.name + suffix) for suffix in ("", "-wal", "-shm"))):
        yield path, True


def _files_of(archive: Archive) -> Iterator[tuple[Path, bool]]:
    secrets = (archive.password_file, archive.token_file, archive.client_key)
    yield from ((path, True) for path in secrets if path)
    if archive.client_certificate:  # it holds the key if there is no other file
        yield archive.client_certificate, archive.client_key is None
    if archive.ca_file:
        yield archive.ca_file, False


def _problems(path: Path, owners: set[int], *, is_private: bool) -> Iterator[str]:
    """Yield what is wrong with a path, with the links on the way to it, and with the folders it lies in."""
    path = path.absolute()
    for link in (path, *path.parents):
        found = _stat(link, follow_symlinks=False)
        if found and stat.S_ISLNK(found.st_mode) and found.st_uid not in owners:
            yield f"{link} is a link of another user, who can let it lead elsewhere. Replace it."
    real = Path(os.path.realpath(path))  # unlike `resolve`, it accepts a circle of links
    for folder in real.parents:
        found = _stat(folder)
        if found and found.st_mode & _WORLD_WRITES and not found.st_mode & stat.S_ISVTX:
            yield f"Every user can replace files in {folder}. Run: chmod o-w {folder}"
        if found and found.st_uid not in owners:
            yield f"{folder} belongs to another user, who can replace files in it. Use another folder."
    yield from _problems_of(real, owners, is_private=is_private)


def _problems_of(path: Path, owners: set[int], *, is_private: bool) -> Iterator[str]:
    found = _stat(path)
    if not found:
        return
    if found.st_uid not in owners:
        yield f"{path} belongs to another user. Make the user of the service its owner: chown USER {path}"
    forbidden = _OTHERS_WRITE | (_OTHERS_READ if is_private else 0)
    if found.st_mode & forbidden:
        verbs = ((_OTHERS_READ & forbidden, "read"), (_OTHERS_WRITE, "change"))
        able = " and ".join(verb for bits, verb in verbs if found.st_mode & bits)
        rights = "go-rwx" if is_private else "go-w"
        yield f"Other users can {able} {path}. Run: chmod {rights} {path}"


def _stat(path: Path, *, follow_symlinks: bool = True) -> os.stat_result | None:
    """Return the properties of a file, None if it does not exist or we may not look."""
    with suppress(OSError):
        return path.stat(follow_symlinks=follow_symlinks)
    return None
