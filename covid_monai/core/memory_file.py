"""Bytes as a file that lies on no disk, for readers that need a path."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def memory_file(content: bytes) -> Iterator[Path]:
    """Give bytes a path, which ends with the block.

    The path has no suffix: the content decides, as everywhere in `covid_monai.readers`. Other processes of
    the same user may open it too.
    """
    descriptor = os.memfd_create("image", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        yield Path(f"/proc/{os.getpid()}/fd/{descriptor}")


def replace_name(detail: str | None, old: str, new: str) -> str | None:
    """Replace the file name at the beginning of a reader's message.

    >>> replace_name("7: the file is empty", "7", "image.dcm")
    'image.dcm: the file is empty'
    """
    if detail is None or not detail.startswith(f"{old}: "):
        return detail
    return f"{new}: {detail.removeprefix(f'{old}: ')}"
