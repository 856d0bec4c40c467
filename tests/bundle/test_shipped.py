"""The bundles of this package are found by name, in a clone, in a wheel, or in the current folder."""

import pytest

from covid_monai.bundle import shipped
from covid_monai.bundle.shipped import (
    LUNG_BUNDLE,
    SHIPPED_BUNDLE,
    find_bundle,
    shipped_bundle,
    shipped_by_name,
    shipped_config,
    shipped_names,
)


@pytest.fixture
def homes(tmp_path, monkeypatch):
    """A clone, a wheel and a current folder, all without bundles."""
    folders = [tmp_path / name for name in ("clone", "wheel", "here")]
    for folder in folders:
        folder.mkdir()
    monkeypatch.setattr(shipped, "_HOMES", (folders[0], folders[1]))
    monkeypatch.chdir(folders[2])
    return folders


def put(home, bundle):
    (home / bundle / "configs").mkdir(parents=True)
    for file in ("configs/inference.yaml", "configs/train.yaml", "models/model.pt"):
        (home / bundle / file).parent.mkdir(exist_ok=True)
        (home / bundle / file).touch()


def test_names_are_those_of_the_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in shipped_names():
        assert find_bundle(name).name == name
        assert find_bundle(name) == shipped_bundle(shipped_by_name(name))
    with pytest.raises(ValueError, match="Unknown bundle of this package 'covid_cxr'"):
        shipped_by_name("covid_cxr")


def test_the_clone_comes_before_the_wheel_and_the_wheel_before_the_current_folder(homes):
    for home in reversed(homes):
        put(home, SHIPPED_BUNDLE)
        assert find_bundle() == shipped_bundle() == home / SHIPPED_BUNDLE


def test_a_config_that_runs_is_never_one_of_the_current_folder(homes):
    clone, wheel, here = homes
    put(here, SHIPPED_BUNDLE)
    with pytest.raises(FileNotFoundError, match=r"train\.yaml of another bundle would run as code"):
        shipped_config("train.yaml")
    put(wheel, SHIPPED_BUNDLE)
    assert shipped_config("train.yaml") == wheel / SHIPPED_BUNDLE / "configs" / "train.yaml"
    put(clone, SHIPPED_BUNDLE)
    assert shipped_config("train.yaml") == clone / SHIPPED_BUNDLE / "configs" / "train.yaml"


def test_a_folder_of_that_name_in_the_current_folder_is_what_was_named(homes):
    _, wheel, here = homes
    put(wheel, LUNG_BUNDLE)
    assert find_bundle(LUNG_BUNDLE.name) == wheel / LUNG_BUNDLE
    put(here, LUNG_BUNDLE.name)
    assert find_bundle(LUNG_BUNDLE.name).resolve() == (here / LUNG_BUNDLE.name).resolve()


def test_without_any_bundle_the_ways_out_are_named(homes):
    with pytest.raises(FileNotFoundError, match="Install the wheel of covid-monai") as failed:
        find_bundle()
    assert str(homes[2]) in str(failed.value)
    with pytest.raises(FileNotFoundError, match="is not a bundle"):
        find_bundle("nowhere")
