"""Text of tables, datalists, files and folders stays text in every command, whatever MONAI reads in it."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from hostile_text import CODE, file_names, texts
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.bundle import ConfigParser
from PIL import Image
from typer.testing import CliRunner

from covid_monai.bundle.config_editing import quote_data
from covid_monai.cli.main import app
from covid_monai.datasets.datalist import SPLITS, read_datalist
from covid_monai.phantoms.radiograph import draw_radiograph

BUNDLE = Path(__file__).parents[1] / "bundles" / "covid_cxr_classification"
CONFIGS = BUNDLE / "configs"
CLASSES = ["légère (A/B) +1.0", "肺炎_2"]
LABELS = {str(index): name for index, name in enumerate(CLASSES)}
values = st.recursive(
    texts | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
keys = texts | st.sampled_from(["view", "sex", "source", "age", "_target_", "_desc_", "_requires_"])


@st.composite
def records(draw):
    """Records of different images and patients, with any text in their values and keys."""
    images = draw(st.lists(file_names, min_size=4, max_size=4, unique_by=str.casefold))
    names = draw(st.lists(texts, min_size=4, max_size=4))
    others = draw(st.lists(st.dictionaries(keys, values, max_size=3), min_size=4, max_size=4))
    return [
        {**other, "image": image, "label": number % 2, "patient": f"{number}{name}"}
        for number, (image, name, other) in enumerate(zip(images, names, others, strict=True))
    ]


@pytest.mark.slow
@settings(max_examples=30)
@given(items=records(), folder=file_names)
def test_monai_hands_on_every_record_as_it_is(tmp_path_factory, items, folder):
    root = tmp_path_factory.mktemp("data") / folder
    root.mkdir()
    for item in items:
        (root / item["image"]).touch()
    splits = {"training": items[:2], "validation": items[2:]}
    path = root / "$open('x','w').json"
    path.write_text(json.dumps({"labels": LABELS, **splits}))
    parser = ConfigParser()
    parser.read_config([str(CONFIGS / "train.yaml")])
    where = {"bundle_root": BUNDLE, "datalist": path, "dataset_dir": root, "image_size": 64}
    parser.update({key: quote_data(value) for key, value in where.items()})
    parser.update({"everything": ["@train_records", {"inner": "@val_records"}, "@class_names", "@datalist"]})
    train, val, names, datalist = parser.get_parsed_content("everything")
    read = read_datalist(path)
    assert (names, datalist) == (CLASSES, str(path))
    assert [train, val["inner"]] == [read.records(split) for split in ("training", "validation")]
    for record, item in zip([*train, *val["inner"]], items, strict=True):
        expected = json.loads(json.dumps(item))
        expected |= {"image": str(root / item["image"]), "patient": record["patient"]}
        assert record == expected
        assert record["patient"] == item["patient"].strip()
    assert parser.get_parsed_content("bundle").class_names == tuple(CLASSES)


def write_collection(root: Path) -> Path:
    """Write a table of images whose names, patients and views look like code."""
    lines = [("image", "label", "patient", "view", "note")]
    for number in range(24):
        text = CODE[number].replace("/", "_").replace("\n", " ")
        chest = (draw_radiograph("normal", seed=number, size=128) * 255).astype("uint8")
        (root / text).mkdir(parents=True, exist_ok=True)
        Image.fromarray(chest).save(root / text / f"{number} {text}.png")
        view = text if number % 3 else "PA"
        lines.append((f"{text}/{number} {text}.png", CLASSES[number % 2], f"p{number} {text}", view, text))
    with (root / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(lines)
    return root


@pytest.mark.slow
def test_every_command_runs_where_all_names_are_code(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlruns.db")
    here = tmp_path / "@here" / "%x" / "a#b"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)  # a name that is run would make the file or folder x here

    def command(*words: object) -> str:
        result = CliRunner().invoke(app, [*map(str, words)])
        assert result.exit_code == 0, (words, result.output[-2000:], result.exception)
        return result.output

    data, datalist = write_collection(Path("$open('x','w')")), Path("%list@data#1.json")
    command("data", "prepare", "csv", data, "--output", datalist)
    prepared = read_datalist(datalist)
    assert prepared.class_names == ("légère_(a/b)_+1.0", "肺炎_2")
    assert sum(len(prepared.splits[split]) for split in SPLITS) == 24
    command("data", "audit", datalist, "--output", "$__import__('os').mkdir('x')")
    small = "network_name: resnet10\nimage_size: 32\nmax_epochs: 1\nbatch_size: 4\n"
    study = f"study: {{title: T, sources: [[csv, {json.dumps(str(data))}]], protocol: official_test}}\n"
    Path("@study.yaml").write_text(small + study)
    cache, runs = "$open('x','w').name", "%runs a else b"
    settings = ("--set", f"cache_dir={json.dumps(cache)}")
    command("experiment", "@study.yaml", "--data", ".", "--output", runs, *settings)
    assert Path(cache).is_dir()
    run = Path("$open('x','w') or '@data'")
    shutil.copytree(Path(runs) / "default" / "test", run)
    command("evaluate", "--bundle", run, "--datalist", datalist, "--output", "$open('x','w').fileno()")
    command("predict", "--bundle", run, "--output", "%out@x#1.jsonl", data)
    lines = [json.loads(line) for line in Path("%out@x#1.jsonl").read_text().splitlines()]
    assert len(lines) == 24
    assert {tuple(line["probabilities"]) for line in lines} == {prepared.class_names}
    command("export", "--bundle", run, "--output", "@data")
    command("bundle", "verify", *Path("@data").glob("*.zip"))
    run.rename("%x.yaml::y")
    command("predict", "--bundle", "%x.yaml::y", next(data.rglob("*.png")))
    assert not Path("x").exists()
