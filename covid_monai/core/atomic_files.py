"""Files that appear whole or not at all, and that only their owner can read.

Most outputs can hold identifiers of patients. Therefore the files and folders that this package makes
belong to their owner alone (modes 0600 and 0700), unless a file is made to be shared. Modes of existing
folders stay as they are.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

_PRIVATE_FILE = 0o600
_PRIVATE_FOLDER = 0o700
_SHARED_FILE = 0o666  # less the umask, as for any other program
_UNWRITTEN = 1  # time of a file, in nanoseconds, that no program has written to since it was made

open_private = partial(os.open, mode=_PRIVATE_FILE)
"""`opener` of `open` for files that are written bit by bit; an existing file keeps its mode."""


def make_private_folder(path: Path) -> None:
    """Make a folder and its missing parents, which only the owner can enter."""
    for folder in (*reversed(path.parents), path):  # mkdir gives its mode to the last folder only
        if not folder.is_dir():
            folder.mkdir(mode=_PRIVATE_FOLDER, exist_ok=True)


def keep_private(path: Path) -> None:
    """Make a file if it is missing; take an older file or folder that every user could read from all others.

    Earlier versions left the mode to the umask. A file that only a group can read was given to it by hand.
    """
    if not path.is_dir():
        path.touch(mode=_PRIVATE_FILE)
    if path.stat().st_mode & stat.S_IRWXO:
        with suppress(PermissionError):  # another user owns it and has opened it for all
            path.chmod(_PRIVATE_FOLDER if path.is_dir() else _PRIVATE_FILE)


@contextmanager
def replace_atomically(path: Path, *, shared: bool = False) -> Iterator[Path]:
    """Give a temporary file beside `path`. Move it to `path` after the block; delete it if the block fails.

    The file is empty and has its mode, so that nobody else can read it at any moment. A missing folder is
    made. For a `shared` file the umask decides who can read the file and a folder that is made for it.

    Raises:
        FileNotFoundError: The block has written nothing; the old file stays.
    """
    if shared:
        path.parent.mkdir(parents=True, exist_ok=True)
    else:
        make_private_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)  # a killed process with the same number has left it
    try:
        temporary.touch(mode=_SHARED_FILE if shared else _PRIVATE_FILE, exist_ok=False)
        os.utime(temporary, ns=(_UNWRITTEN, _UNWRITTEN))
        yield temporary
        if temporary.stat().st_mtime_ns == _UNWRITTEN:
            raise FileNotFoundError(f"Nothing was written that could become {path}.")
        with temporary.open("rb") as file:
            os.fsync(file.fileno())  # the name must not outlive a power cut without its content
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text_atomically(path: Path, text: str) -> None:
    """Write `text` as UTF-8 through `replace_atomically`.

    Undecodable bytes of file names (surrogates) are written back as they were.
    """
    with replace_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")
