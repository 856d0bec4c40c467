"""The audit's verdict: a planted marker is found, its absence too, and what cannot be told is not told."""

import json

import numpy as np
import pytest
from PIL import Image

from covid_monai.datasets.datalist import SPLITS, read_datalist
from covid_monai.evaluation.shortcuts.confounding_audit import audit_confounding
from covid_monai.evaluation.shortcuts.shortcut_probes import any_shortcut, is_shortcut
from covid_monai.lungs import LungSegmenter
from covid_monai.phantoms.dataset import write_phantoms
from covid_monai.transforms.hidden_box import INSIDE

pytestmark = pytest.mark.slow

PROBES = ["border", "lungs hidden", "file", "whole image", "source"]


def audit_phantoms(folder, marker):
    datalist = read_datalist(
        write_phantoms(folder / "set", patients=60, size=64, ct=False, planted_marker=marker)
    )
    items = [item for split in SPLITS for item in datalist.splits[split]]
    return audit_confounding(
        items, datalist.class_names, find_lungs=LungSegmenter().find_box, root=datalist.root
    )


def no_lungs(_):
    return INSIDE


def noise_images(folder, count, level=lambda _: 0):
    rng = np.random.default_rng(0)
    for number in range(count):
        pixels = rng.integers(60, 160, (80, 80)) + level(number)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")


def test_planted_marker_is_called_a_shortcut(tmp_path):
    audit = audit_phantoms(tmp_path, "covid")
    assert audit["shortcut"] is True
    assert audit["verdict"].startswith("Shortcut: the label can be predicted from the image border alone")
    assert "for covid" in audit["verdict"]
    assert "Do not believe the headline" in audit["verdict"]
    border = audit["probes"][0]
    assert border["name"] == "border"
    assert border["per_class"]["covid"]["low"] > 0.75
    assert json.loads(json.dumps(audit)) == audit


def test_without_the_marker_it_is_not(tmp_path):
    audit = audit_phantoms(tmp_path, None)
    assert audit["shortcut"] is False
    assert "shortcut" not in audit["verdict"].lower()
    assert [probe["name"] for probe in audit["probes"]] == [*PROBES, "leave out phantom"]
    whole = next(probe for probe in audit["probes"] if probe["name"] == "whole image")
    assert whole["per_class"]["covid"]["value"] > 0.8, "the disease itself is there to be seen"
    assert audit["unreadable"] == []


def test_class_and_source_that_coincide_are_said_to(tmp_path):
    noise_images(tmp_path, 120)
    items = [{"image": f"{i}.png", "label": i % 2, "source": "AB"[i % 2]} for i in range(120)]
    audit = audit_confounding(items, ["no", "yes"], find_lungs=no_lungs, root=tmp_path)
    assert audit["shortcut"] is None
    assert "Label and source go together (Cramer's V 1.00)" in audit["verdict"]
    left_out = [probe for probe in audit["probes"] if probe["name"].startswith("leave out")]
    assert len(left_out) == 2
    assert all(probe["note"].startswith("Not possible") for probe in left_out)


def test_brightness_of_a_class_is_found_and_bad_files_are_named(tmp_path):
    noise_images(tmp_path, 60, level=lambda number: 40 * (number % 2))
    (tmp_path / "7.png").write_bytes(b"broken")
    items = [{"image": f"{i}.png", "label": i % 2} for i in range(60)]
    audit = audit_confounding(items, ["no", "yes"], find_lungs=no_lungs, root=tmp_path)
    assert audit["shortcut"] is True
    assert audit["verdict"].startswith("Shortcut")
    assert audit["unreadable"] == ["7.png"]


def test_few_patients_are_not_judged(tmp_path):
    noise_images(tmp_path, 12)
    items = [{"image": f"{i}.png", "label": i % 2} for i in range(12)]
    audit = audit_confounding(items, ["no", "yes"], find_lungs=no_lungs, root=tmp_path)
    assert audit["shortcut"] is None
    assert "too few patients" in audit["verdict"]


def test_nothing_to_audit_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no records"):
        audit_confounding([], ["no", "yes"], find_lungs=no_lungs)
    with pytest.raises(ValueError, match=r"None of the 1 images.*gone\.png"):
        audit_confounding(
            [{"image": "gone.png", "label": 0}], ["no", "yes"], find_lungs=no_lungs, root=tmp_path
        )


def interval(low, high):
    return {"value": (low + high) / 2, "low": low, "high": high}


def test_the_rule():
    assert is_shortcut({"a": interval(0.4, 0.6), "b": interval(0.61, 0.7)}) is True
    assert is_shortcut({"a": interval(0.4, 0.6), "b": interval(0.59, 0.74)}) is False
    assert is_shortcut({"a": interval(0.4, 0.8)}) is None
    assert is_shortcut({"a": {"value": 1.0, "low": None, "high": None}}) is None
    assert is_shortcut({}) is None
    assert any_shortcut([False, None, True]) is True
    assert any_shortcut([False, None]) is None
    assert any_shortcut([False, False]) is False
    assert any_shortcut([]) is None


@pytest.mark.slow
@pytest.mark.real_data
def test_covid_of_adults_against_normal_children_is_a_shortcut(real_data):
    covid = sorted((real_data / "covid-19-detection-50" / "covid").iterdir())
    normal = sorted((real_data / "chest_xray" / "test" / "NORMAL").iterdir())[:40]
    items = [{"image": str(p), "label": int(p in covid), "source": p.parent.name} for p in (*covid, *normal)]
    audit = audit_confounding(items, ["normal", "covid"], find_lungs=LungSegmenter().find_box)
    assert audit["shortcut"] is True
