"""Bundles as data: our own build as MONAI builds them, and what would run as code is refused by name."""

import json
import shutil
import sys
from contextlib import suppress
from importlib import import_module

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai import transforms
from monai.bundle import ConfigParser
from strange_bundles import IGNORED, REFUSED, TEXT, code, edit

from covid_monai.bundle import Bundle
from covid_monai.bundle.safe_config import ALLOWED_PARTS, ConfigError, SafeConfig, UntrustedCode, read_config
from covid_monai.bundle.shipped import shipped_bundle

SETTINGS = {
    "class_names": ["no", "yes"],
    "image_size": 64,
    "network_name": "resnet10",
    "n": {"a": [5, "@n::b"]},
}


def build(bundle):
    return bundle.preprocessing, bundle.build_network()


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    source = Bundle(shipped_bundle(), class_names=["no", "yes"], image_size=64, network_name="resnet10")
    return source.copy_to(tmp_path_factory.mktemp("template")).root


@pytest.fixture
def small_bundle(template, tmp_path):
    """A bundle without weights."""
    return Bundle(shutil.copytree(template, tmp_path / "bundle"))


@pytest.fixture
def canary(tmp_path):
    return tmp_path / "canary"


@pytest.fixture(scope="module")
def executed():
    """Gives a function that runs another and returns what the process started, imported or evaluated."""
    events, recording = [], [False]

    def listen(event, arguments):
        started = event in ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn")
        if recording[0] and (started or (event == "compile" and "touch" in str(arguments[0]))):
            events.append((event, arguments))

    sys.addaudithook(listen)

    def watch(function, *arguments):
        events.clear()
        recording[0] = True
        try:
            function(*arguments)
        except ValueError as error:
            return error, list(events)
        finally:
            recording[0] = False
        return None, list(events)

    return watch


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_run_as_code_is_refused_by_name_and_not_run(name, small_bundle, canary, executed):
    root = small_bundle.root
    edit(root / "configs" / "inference.yaml", lambda config: REFUSED[name](config, canary))
    error, events = executed(lambda: build(Bundle(root)))
    assert error is not None
    assert str(root / "configs" / "inference.yaml") in str(error)
    assert len(str(error)) < 600 + len(str(root))
    assert not events
    assert not canary.exists()


@pytest.mark.parametrize("name", IGNORED)
def test_code_that_prediction_does_not_use_is_not_looked_at(name, small_bundle, canary, executed):
    digest = small_bundle.preprocessing_digest
    edit(small_bundle.root / "configs" / "inference.yaml", lambda config: IGNORED[name](config, canary))
    assert executed(lambda: build(Bundle(small_bundle.root))) == (None, [])
    assert not canary.exists()
    assert Bundle(small_bundle.root).preprocessing_digest == digest


@pytest.mark.parametrize("name", TEXT)
def test_yaml_that_makes_objects_or_grows_without_limit_is_refused(name, small_bundle, canary, executed):
    path = small_bundle.root / "configs" / "inference.yaml"
    text, message = TEXT[name]
    path.write_text(f"{path.read_text()}\n{text.format(canary=canary)}\n")
    error, events = executed(lambda: build(Bundle(small_bundle.root)))
    assert isinstance(error, ConfigError)
    assert message in str(error)
    assert str(path) in str(error)
    assert not events
    assert not canary.exists()


@pytest.mark.parametrize("name", ["a step", "an argument", "requires", "Lambdad", "a reference to code"])
def test_a_user_who_trusts_the_author_runs_the_code(name, small_bundle, canary):
    edit(small_bundle.root / "configs" / "inference.yaml", lambda config: REFUSED[name](config, canary))
    bundle = Bundle(small_bundle.root, trust_code=True)
    assert not canary.exists()
    with suppress(Exception):  # MONAI may not be able to use what the expression returns
        bundle.preprocessing({"image": np.zeros((1, 8, 8))})
    assert canary.exists()


def test_the_name_of_a_folder_is_no_code_even_for_those_who_trust(small_bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = small_bundle.root.rename(tmp_path / "$open('x','w')")
    assert Bundle(root, trust_code=True).preprocessing is not None
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("key", ["name", "version"])
@pytest.mark.parametrize("value", ["../../x", "/etc/x", "a/b", "$x", "", ".x", None, 1.5, ["x"]])
def test_no_name_in_the_metadata_leaves_a_folder(small_bundle, key, value):
    edit(small_bundle.root / "configs" / "metadata.json", lambda metadata: metadata.update({key: value}))
    with pytest.raises(ConfigError, match=f"metadata.json: {key} is "):
        Bundle(small_bundle.root)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_size": 60_000}, "image_size is 60000. Give 1 to 4096 pixels"),
        ({"image_size": 0}, "image_size is 0. Give"),
        ({"image_size": float("inf")}, "image_size is inf. Give a whole number"),
        ({"class_names": [False, True]}, "class name False is not text .*needs quotes"),
    ],
    ids=str,
)
def test_a_setting_of_no_use_is_named_with_the_way_out(small_bundle, settings, message):
    edit(small_bundle.root / "configs" / "inference.yaml", lambda config: config.update(settings))
    with pytest.raises(ValueError, match=f"inference.yaml: .*{message}"):
        Bundle(small_bundle.root)


def test_metadata_is_data(small_bundle, canary):
    path = small_bundle.root / "configs" / "metadata.json"
    edit(path, lambda metadata: metadata.update(task=code(canary), more={"_target_": "os.system"}))
    assert Bundle(small_bundle.root).metadata["task"] == code(canary)
    build(Bundle(small_bundle.root))
    assert not canary.exists()
    path.write_text("[" * 100_000)
    with pytest.raises(ConfigError, match=r"metadata\.json cannot be read"):
        Bundle(small_bundle.root)


def test_references_in_a_circle_and_references_that_grow_end(tmp_path):
    def resolve(more):
        (tmp_path / "inference.yaml").write_text(json.dumps({**SETTINGS, **more}))
        return SafeConfig(tmp_path / "inference.yaml", {}).resolve("x")

    for more in (
        {"x": "@x"},
        {"x": ["@y"], "y": {"a": "@x"}},
        {"x": "@x0", **{f"x{n}": f"@x{n + 1}" for n in range(200)}, "x200": 1},
        {"x": "@x0", **{f"x{n}": [f"@x{n + 1}"] * 10 for n in range(30)}, "x30": 1},
    ):
        with pytest.raises(ConfigError, match=r"too large: references lead in a circle"):
            resolve(more)
    for missing in ("@no", "@n::c", "@n::a::2", "@class_names::a", "@n#a#0#z"):
        with pytest.raises(ConfigError, match=r"inference\.yaml has no"):
            resolve({"x": missing})
    assert resolve({"x": ["@n::a#0", "@n::b"], "n": {"a": [5], "b": "@image_size"}}) == [5, 64]


def test_the_parts_are_those_that_monai_builds():
    ours, parser = Bundle(shipped_bundle()), ConfigParser()
    parser.read_config(shipped_bundle() / "configs" / "inference.yaml")
    _compare(ours.preprocessing, parser.get_parsed_content("preprocessing"))
    theirs = parser.get_parsed_content("network_def").state_dict()
    assert {key: value.shape for key, value in theirs.items()} == {
        key: value.shape for key, value in ours.build_network().state_dict().items()
    }
    # Of the shipped weights: it must never change without a new version.
    assert ours.preprocessing_digest == "26482b8f50242244ba3742e5d5eb19f9fe733a435d937b9de3d0afb045991a61"


def _compare(ours, theirs):
    """Compare two objects with everything in them."""
    assert type(ours) is type(theirs)
    if isinstance(ours, list | tuple):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            _compare(one, other)
    elif (
        hasattr(ours, "__dict__") and not isinstance(ours, type) and not callable(getattr(ours, "func", None))
    ):
        assert vars(ours).keys() == vars(theirs).keys()
        for key, value in vars(ours).items():
            if not isinstance(value, np.random.RandomState):
                _compare(value, vars(theirs)[key])
    elif callable(ours):
        assert repr(ours).split(" at 0x")[0] == repr(theirs).split(" at 0x")[0]
    else:
        assert np.array_equal(ours, theirs)


def test_another_image_is_the_same_to_the_last_bit(small_bundle, tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (400, 300), dtype=np.uint8)).save(tmp_path / "a.png")
    images = [
        Bundle(small_bundle.root, trust_code=trusted).preprocessing({"image": str(tmp_path / "a.png")})[
            "image"
        ]
        for trusted in (False, True)
    ]
    assert torch.equal(*(image.as_tensor() for image in images))


def test_every_allowed_part_exists_and_none_runs_other_code():
    for module, names in ALLOWED_PARTS.items():
        for name in names:
            assert callable(getattr(import_module(module), name))
    monai = [getattr(transforms, name) for name in ALLOWED_PARTS["monai.transforms"]]
    forbidden = (transforms.Lambdad, transforms.Lambda, transforms.SaveImaged, transforms.SaveImage)
    assert not any(issubclass(part, forbidden) for part in monai)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=12,
    ),
    st.sampled_from(["_target_", "_mode_", "keys", "transforms", "reader", "func"]),
)
def test_no_value_anywhere_is_evaluated(tmp_path_factory, value, key):
    folder = tmp_path_factory.mktemp("any")
    part = {"_target_": "Compose", "transforms": [{"_target_": "Resized", "keys": "image", key: value}]}
    (folder / "inference.yaml").write_text(json.dumps({**SETTINGS, "x": part, "y": value}))
    config = SafeConfig(folder / "inference.yaml", {})
    for item_id in ("x", "y"):
        try:
            config.build(item_id)
        except (UntrustedCode, ConfigError):
            continue
        assert item_id == "x"


def test_the_configs_of_the_shipped_bundle_are_read_as_monai_reads_them():
    for path in (shipped_bundle() / "configs").glob("*.[yj]*"):
        assert read_config(path) == ConfigParser.load_config_file(path)
