"""The page of a data audit: its sentences, its galleries, and how many it shows."""

import re
from collections import Counter

import pytest
from dataset_helpers import write_image

from covid_monai.core.vocabulary import RESEARCH_USE
from covid_monai.evaluation.report.audit_page import GROUPS_SHOWN, audit_html, audit_verdict

AUDIT = {
    "leaks": [],
    "label_conflicts": [],
    "divided_hospitals": [],
    "duplicate_groups": [],
    "unreadable": [],
    "confounding": {"verdict": "a < b & c", "shortcut": None, "tables": [], "probes": []},
    "counts": {"compared": 3, "images": 3, "patients": 2, "unreadable": 0, "splits": {"test": 3}}
    | {"exact_pairs": 0, "near_pairs": 0},
    "root": "/",
    "datalist": "list.json",
    "notice": "research",
}


def test_sentences_are_plain_text_and_pages_are_escaped():
    sentences = audit_verdict(AUDIT)
    assert sentences[1] == "a < b & c"
    assert "a &lt; b &amp; c" in audit_html({**AUDIT, "verdict": sentences}, [])


def test_the_page_draws_a_bounded_number_of_groups_and_says_so(tmp_path):
    write_image(tmp_path / "again.jpg")
    records = [
        {"image": name, "split": split, "class": None}
        for name in ("again.jpg", "missing.png")
        for split in ("training", "test")
    ]
    leaks = [
        {"kind": "patient", "name": f"p{n}", "splits": ["test", "training"], "paths": records[:4:3]}
        for n in range(GROUPS_SHOWN + 5)
    ]
    counts = {"images": 4, "splits": {}, "patients": 1, "compared": 1, "exact_pairs": 0, "near_pairs": 0}
    report = {
        "datalist": "list.json",
        "root": str(tmp_path),
        "counts": counts | {"unreadable": 1},
        "leaks": leaks,
        "duplicate_groups": [],
        "label_conflicts": [],
        "divided_hospitals": [],
        "unreadable": [{"image": "missing.png", "reason": "There is no such file. Check the path."}],
        "confounding": None,
        "notice": RESEARCH_USE,
    }
    assert f"in more than one split: {GROUPS_SHOWN + 5} patients." in audit_verdict(report)[0]
    page = audit_html({**report, "verdict": audit_verdict(report)}, records)
    assert f"The first {GROUPS_SHOWN} of {GROUPS_SHOWN + 5} are shown" in page
    assert page.count('<div class="row">') == GROUPS_SHOWN
    assert "cannot be shown" in page


@pytest.mark.parametrize(
    ("finding", "sentence"),
    [
        ({"leaks": [{"kind": "patient"}]}, "Leak: in more than one split: 1 patient."),
        (
            {"leaks": [{"kind": "file"}, {"kind": "group"}, {"kind": "file"}]},
            "Leak: in more than one split: 2 files, 1 image under two names.",
        ),
        ({"label_conflicts": [{}]}, "Contradicting labels: 1 image with more than one class."),
        ({"duplicate_groups": [[], []]}, "Duplicates: 2 images found more than once."),
        ({"counts": AUDIT["counts"] | {"unreadable": 2}}, "Not compared: 2 files."),
    ],
)
def test_each_finding_has_its_sentence(finding, sentence):
    assert any(line.startswith(sentence) for line in audit_verdict({**AUDIT, **finding}))


def test_a_row_shows_one_image_of_each_split_before_the_second_of_any(tmp_path):
    for number in range(12):
        write_image(tmp_path / f"{number}.png", seed=number)
    split = ["training"] * 10 + ["test", "validation"]
    records = [{"image": f"{n}.png", "split": split[n], "class": "covid"} for n in range(12)]
    conflict = {"paths": [record["image"] for record in records], "labels": [["covid"]] * 12}
    report = {**AUDIT, "root": str(tmp_path), "label_conflicts": [conflict], "confounding": None}
    page = audit_html({**report, "verdict": audit_verdict(report)}, records)
    shown = re.findall(r"(\d+)\.png", page[page.index("Each row shows one image with more than one class") :])
    assert Counter(split[int(number)] for number in dict.fromkeys(shown)) == {
        "training": 6,
        "test": 1,
        "validation": 1,
    }
    assert page.count("data:image/jpeg;base64,") == 8
