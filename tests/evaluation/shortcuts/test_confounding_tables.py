"""Tables of the label against other properties: counts, stars and the strength of the association."""

import numpy as np
import pytest

from covid_monai.evaluation.shortcuts.confounding_tables import confounding_tables
from covid_monai.evaluation.shortcuts.image_properties import THUMBNAIL_SIZE, ImageProperties


def fact(**changes) -> ImageProperties:
    plain = {
        "thumbnail": np.zeros((THUMBNAIL_SIZE, THUMBNAIL_SIZE), np.uint8),
        "rows": 512,
        "columns": 512,
        "file_type": "PNG",
        "depth": "grey, 8 bit",
        "compression": 0.0,
        "mean_grey": 0.5,
        "frame_share": 0.0,
        "sharpness": 0.1,
    }
    return ImageProperties(**(plain | changes))


def test_tables_count_images_and_patients_and_mark_thin_cells():
    items = [
        {"image": f"{i}", "label": i % 2, "source": "ab"[i % 2], "sex": "FM"[i // 2 % 2], "age": 10 + i}
        for i in range(60)
    ]
    groups = np.repeat(np.arange(30), 2)  # patient i has an image of both classes
    facts = [fact(columns=512 if i < 50 else 1024) for i in range(60)]
    tables = {t["title"]: t for t in confounding_tables(items, facts, groups, ["no", "yes"])}
    assert tables["Label by source"]["columns"] == ["source", "no", "yes"]
    assert tables["Label by source"]["rows"] == [["a", "30 (30)", "0"], ["b", "0", "30 (30)"]]
    assert tables["Label by source"]["cramers_v"] == pytest.approx(1)
    assert tables["Label by sex"]["cramers_v"] == pytest.approx(0)
    assert tables["Label by width / height"]["rows"][1] == ["wide: 1.25 and over", "5 (5)*", "5 (5)*"]
    assert tables["Label by age"]["rows"][0] == ["18 to 39", "11 (11)", "11 (11)"]
    assert tables["Label by view"]["cramers_v"] is None
    assert tables["Label by view"]["rows"] == [["not recorded", "30 (30)", "30 (30)"]]


def test_an_age_that_is_no_age_is_not_recorded_and_a_source_named_0_is_a_source():
    ages = [float("nan"), float("inf"), -3, None, "old", True, 0, 17.9, 18, 100]
    items = [{"image": str(i), "label": i % 2, "source": i % 2, "age": age} for i, age in enumerate(ages)]
    facts = [fact()] * len(items)
    tables = {t["title"]: t for t in confounding_tables(items, facts, np.arange(10), ["no", "yes"])}
    assert {row[0]: row[1:] for row in tables["Label by age"]["rows"]} == {
        "under 18": ["1 (1)*", "1 (1)*"],
        "18 to 39": ["1 (1)*", "0"],
        "65 and over": ["0", "1 (1)*"],
        "not recorded": ["3 (3)*", "3 (3)*"],
    }
    assert [row[0] for row in tables["Label by source"]["rows"]] == ["0", "1"]
