"""The exported bundle in other hands: MONAI's own loaders, as docs/export.md shows them."""

import json
import os
import re
import runpy
import shutil
import site
import subprocess
import venv
from pathlib import Path

import pytest
import torch
from monai.bundle import load

from covid_monai.bundle import Bundle
from covid_monai.inference.classifier import Classifier
from covid_monai.phantoms.dataset import write_phantoms

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
NAME = "covid_cxr_classification"
# What the SDK loads when it is imported; its other requirements are not used here.
DEPLOY_SDK = (
    *(
        "monai-deploy-app-sdk==4.0.0",
        "holoscan-cu13==4.6.0",
        "holoscan-cli==5.0.0",
        "wheel-axle-runtime==0.0.13",
    ),
    *("tritonclient", "python-rapidjson", "colorama", "typeguard"),
    *("gevent", "greenlet", "zope.event", "zope.interface", "geventhttpclient", "brotli"),
)


@pytest.fixture(scope="module")
def place(archive, tmp_path_factory):
    """A folder with the unpacked archive and `images/`."""
    place = tmp_path_factory.mktemp("place")
    shutil.unpack_archive(archive, place)
    write_phantoms(place / "images", patients=9, size=128, image_format="png", ct=False)
    return place


def test_the_snippet_in_the_documents_gives_our_probabilities(place, monkeypatch):
    (snippet,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "export.md").read_text(), flags=re.S)
    monkeypatch.chdir(place)
    (place / "snippet.py").write_text(snippet)
    runpy.run_path("snippet.py")
    rows = [line.split(",") for line in (place / "results" / "predictions.csv").read_text().splitlines()]
    found = {Path(name).name: list(map(float, values)) for name, *values in rows}
    ours = {Path(r.file).name: r for r in Classifier(place / NAME).predict(sorted(place.rglob("*.png")))}
    assert any(record.ok for record in ours.values())
    for name, record in ours.items():
        if record.ok:
            assert found[name] == pytest.approx(list(record.probabilities.values()), abs=1e-5)


def test_monai_bundle_load_takes_it_from_the_folder(place):
    image, bundle = torch.rand(3, 1, 128, 128), Bundle(place / NAME)
    expected = bundle.load_network()
    network = load(
        NAME, bundle_dir=str(place), model=bundle.build_network(), key_in_ckpt="model", device="cpu"
    )
    script, metadata, _ = load(NAME, bundle_dir=str(place), load_ts_module=True, device="cpu")
    assert metadata["preprocessing"]["digest"] == bundle.preprocessing_digest
    with torch.no_grad():
        assert torch.equal(network.eval()(image), expected(image))
        assert torch.allclose(script(image), expected(image), atol=1e-4)


@pytest.mark.skipif(
    "COVID_MONAI_CLEAN_ENVIRONMENT" not in os.environ,
    reason="installs MONAI Deploy's SDK: set COVID_MONAI_CLEAN_ENVIRONMENT=1",
)
def test_monai_deploy_runs_the_operator_of_the_documents(place, tmp_path):
    venv.create(tmp_path / "sdk", with_pip=True)
    install = [tmp_path / "sdk" / "bin" / "pip", "install", "--quiet", "--no-deps", *DEPLOY_SDK]
    subprocess.run(install, check=True)
    (own,) = (tmp_path / "sdk" / "lib").glob("python*/site-packages")
    (own / "ours.pth").write_text("\n".join([*site.getsitepackages(), str(ROOT)]))
    # Installed apart from MONAI; in one environment the SDK's `monai/deploy` lies in MONAI's own folder.
    code = f"import monai, runpy; monai.__path__.append({str(own / 'monai')!r}); "
    code += f"runpy.run_path({str(ROOT / 'docs' / 'examples' / 'deploy_operator.py')!r}, run_name='__main__')"
    (tmp_path / "out").mkdir()
    arguments = [place / NAME, place / "images", tmp_path / "out"]
    python = tmp_path / "sdk" / "bin" / "python"
    subprocess.run([python, "-c", code, *map(str, arguments)], check=True, capture_output=True, timeout=300)
    lines = (tmp_path / "out" / "results.jsonl").read_text().splitlines()
    found = {record["file"]: record["probabilities"] for record in map(json.loads, lines)}
    ours = {r.file: r.probabilities for r in Classifier(place / NAME).predict(sorted(place.rglob("*.png")))}
    assert found.keys() == ours.keys()
    assert any(ours.values())
    assert all(found[file] == pytest.approx(ours[file], abs=1e-5) for file in ours if ours[file])
