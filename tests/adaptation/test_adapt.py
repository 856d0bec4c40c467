"""The way from images to the written bundle: options that contradict each other, and a repeated run."""

import shutil

import pytest

from covid_monai.adaptation.adapt import adapt_bundle


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "Give one of --datalist, --normals and --unlabelled; found none"),
        ({"datalist": "a", "normals": "b"}, "found --datalist and --normals"),
        ({"unlabelled": "a"}, "need each other"),
        ({"normals": "a", "least_share_of_normals": 0.3}, "need each other"),
        ({"unlabelled": "a", "least_share_of_normals": 30}, "is 30. Give a share above 0, up to 1"),
        ({"normals": "a", "fine_tune": True}, "--fine-tune-heads needs labelled images"),
        ({"normals": "a", "site": "$x"}, "--site"),
    ],
)
def test_options_that_contradict_each_other_are_named(source, tmp_path, options, message):
    paths = {k: tmp_path / v if isinstance(v, str) and k != "site" else v for k, v in options.items()}
    with pytest.raises(ValueError, match=message):
        adapt_bundle(source.root, tmp_path / "site", **paths)
    assert not (tmp_path / "site").exists()


@pytest.mark.slow
def test_a_folder_of_normals_gives_the_same_bundle_each_time(source, hospital, tmp_path):
    (tmp_path / "normals").mkdir()
    for path in hospital.parent.glob("0-*.png"):
        shutil.copy(path, tmp_path / "normals")
    reports = [
        adapt_bundle(source.root, tmp_path / name, normals=tmp_path / "normals", device="cpu")
        for name in ("one", "two")
    ]
    assert reports[0] == reports[1]
    assert reports[0]["adapted"]["patients"] == 63
    assert reports[0]["adapted"]["site"] is None
    for name in ("models/unseen_sources.json", "configs/metadata.json", "docs/adaptation.md"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert reports[0]["parts"] == 63
