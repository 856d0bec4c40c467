"""`covid-monai evaluate`, from phantoms to the report."""

import json
import shutil

import pytest

CLASS_NAMES = ["normal", "pneumonia", "covid"]


@pytest.mark.slow
def test_phantoms_prepare_evaluate(run, bundle, tmp_path, monkeypatch):
    phantoms, merged, results = tmp_path / "phantoms", tmp_path / "merged.json", tmp_path / "res#ults"
    code, out, _ = run("data", "phantom", phantoms, "--patients", 18, "--size", 128, "--no-ct")
    assert code == 0
    assert "Next: covid-monai train --datalist" in out
    datalist = json.loads((phantoms / "datalist.json").read_text())

    for split in ("training", "validation", "test"):  # the same images again as one folder a class
        for record in datalist[split]:
            target = tmp_path / "folder" / datalist["labels"][str(record["label"])]
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(phantoms / record["image"], target)
    (tmp_path / "folder" / "covid" / "broken.png").write_text("no image")
    code, out, _ = run("data", "prepare", "folder", tmp_path / "folder", "--output", merged)
    assert code == 0
    assert "Left out: 1 file" in out
    assert len(json.loads(merged.read_text())["excluded"]) == 1

    broken = phantoms / datalist["test"][0]["image"]
    broken.write_bytes(b"no image")
    code, out, err = run(
        *("evaluate", "--bundle", bundle.root, "--datalist", phantoms / "datalist.json", "--output", results)
    )
    assert code == 0, err
    assert f"{broken} is not counted: " in out
    assert f"not counted: {broken.name}" not in out
    metrics = json.loads((results / "metrics.json").read_text())
    assert metrics["data"]["images_not_counted"] == 1
    assert metrics["data"]["splits"]["test"]["images"] == len(datalist["test"]) - 1
    assert metrics["verdict"]["limits"][0] in " ".join(out.split())
    assert sorted(path.name for path in results.iterdir()) == [
        *("metrics.json", "predictions.csv", "report.html")
    ]
    assert str(results / "report.html") in out
    assert "Balanced accuracy" in out
    assert "\x1b" not in out + err

    monkeypatch.setattr(
        "covid_monai.bundle.composed_config.run_workflow", lambda *_, **__: print("scored before")
    )
    options = ("--datalist", phantoms / "datalist.json", "--output", results, "--json")
    code, out, err = run("evaluate", "--bundle", bundle.root, *options)
    assert code == 0
    assert "scored before" in err
    assert json.loads(out) == json.loads((results / "metrics.json").read_text())


def test_evaluate_without_test_split_is_one_line(run, bundle, images, tmp_path):
    labels = {str(index): name for index, name in enumerate(CLASS_NAMES)}
    item = {"image": str(images / "a.png"), "label": 0}
    (tmp_path / "list.json").write_text(json.dumps({"labels": labels, "training": [item]}))
    arguments = ("--bundle", bundle.root, "--datalist", tmp_path / "list.json", "--output", tmp_path / "out")
    code, _, err = run("evaluate", *arguments)
    assert code == 2
    (line,) = [line for line in err.splitlines() if line.startswith("covid-monai:")]
    assert "the split test has no records" in line
