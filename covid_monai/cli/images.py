"""Image files that a person names on the command line."""

from pathlib import Path

import typer


def image_files(paths: list[Path]) -> list[Path]:
    """Files, and the images of folders; says how many files it leaves out.

    Raises:
        FileNotFoundError: If a path does not exist.
        ValueError: If there is no image.
    """
    from covid_monai.readers.image_files import find_files

    files, left_out = find_files(paths)
    if not files:
        places = ", ".join(map(str, paths))
        raise ValueError(f"no image in {places}: expected DICOM, JPEG or PNG (other files: {left_out}).")
    if left_out:
        typer.echo(f"Left out, being no DICOM, JPEG or PNG: {left_out} files.", err=True)
    return files
