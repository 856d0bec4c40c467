"""Images from a folder of the server: only what is allowed, and within the limits."""

from dataclasses import replace

import pytest

from covid_monai.api.uploads import LimitExceeded, Limits, MemoryBudget, Upload, UploadError
from covid_monai.app.sources import folders_below, images_in

BUDGET = MemoryBudget(1 << 30)


def test_only_what_lies_below_the_folder_can_be_chosen(tmp_path):
    root, outside = tmp_path / "images", tmp_path / "outside"
    for folder in (root / "ward" / "deep", root / ".hidden", outside):
        folder.mkdir(parents=True)
        (folder / "image.png").write_bytes(b"image")
    (root / "escape").symlink_to(outside)
    (root / "ward" / "linked.png").symlink_to(outside / "image.png")
    assert folders_below(root) == [".", "escape", "ward", "ward/deep"]
    (file,) = images_in(root, "ward", Limits(), BUDGET)
    assert file.load() == Upload("ward/deep/image.png", b"image")
    for chosen in ("..", "../outside", "/etc", str(outside), "escape", "missing", "ward/deep/image.png"):
        with pytest.raises(UploadError):
            images_in(root, chosen, Limits(), BUDGET)
    with pytest.raises(LimitExceeded):
        images_in(root, "ward", Limits(max_files=0), BUDGET)
    with pytest.raises(LimitExceeded):
        replace(file, limits=Limits(max_file_bytes=3)).load()
