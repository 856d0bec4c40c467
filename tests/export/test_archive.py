"""One file for clinical tooling: whole, the same every time, and refused by name when it is not."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from export_helpers import repacked
from PIL import Image
from typer.testing import CliRunner

from covid_monai.bundle import Bundle
from covid_monai.bundle.bundle import save_checkpoint
from covid_monai.bundle.bundle_zip import CHECKSUMS, compute_sha256
from covid_monai.cli.main import app
from covid_monai.export import export_bundle, verify_bundle
from covid_monai.inference.classifier import Classifier
from covid_monai.phantoms.dataset import write_phantoms
from covid_monai.phantoms.radiograph import draw_radiograph

pytestmark = pytest.mark.slow
SHIPPED = Path(__file__).parents[2] / "bundles" / "covid_cxr_classification"
NAME = "covid_cxr_classification"
FORMS = ("model.ts", "model.onnx")
EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "predict_onnx.py"


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    write_phantoms(folder / "images", patients=9, size=256, image_format="dicom", ct=False)
    return sorted((folder / "images").rglob("*.dcm"))


def test_archive_is_whole_and_other_tools_agree_on_its_digests(archive, folder):
    assert archive.name == f"{NAME}-{Bundle(SHIPPED).metadata['version']}.zip"
    assert subprocess.run(["sha256sum", "-c", "--quiet", CHECKSUMS], cwd=folder).returncode == 0
    record = verify_bundle(archive)
    assert record == verify_bundle(folder)
    assert max(record["parity"]["max_abs_difference"].values()) <= 1e-4
    assert record["weights_sha256"] == Bundle(SHIPPED).identity["weights_sha256"]
    materials = json.loads((folder / "sbom.cdx.json").read_text())["components"]
    pins = {f"{item['name']}=={item['version']}" for item in materials if "purl" in item}
    assert pins == set((folder / "wheels" / "requirements.txt").read_text().split())
    assert {"models/model.pt", "models/model.ts", "models/model.onnx"} < {item["name"] for item in materials}
    contract = json.loads((folder / "configs" / "metadata.json").read_text())["preprocessing"]
    assert contract["digest"] == Bundle(SHIPPED).preprocessing_digest
    assert contract["steps"][0]["_target_"] == "LoadImaged"


def test_the_lung_bundle_is_exported_and_verified_too(tmp_path):
    record = verify_bundle(export_bundle(SHIPPED.parent / "covid_cxr_lung_segmentation", tmp_path))
    assert record["class_names"] == ["background", "lungs"]
    assert max(record["parity"]["max_abs_difference"].values()) <= 1e-4
    assert record["code"] == []


def _digests(archive):
    with zipfile.ZipFile(archive) as content:
        digests = {name: hashlib.sha256(content.read(name)).hexdigest() for name in content.namelist()}
    return {**digests, "the whole": hashlib.sha256(archive.read_bytes()).hexdigest()}


def test_the_same_weights_give_the_same_bytes(archive, tmp_path):
    # Another process, with another number of threads and another umask.
    program = Path(sys.executable).with_name("covid-monai")
    # Ten times what it takes on two cores; then the signal has Python say where it stands.
    command = ["timeout", "--signal=ABRT", "300", program, "export", "--json", "--output", tmp_path]
    other = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"}
    log, told = tmp_path / "log", tmp_path / "told"
    # Not pipes: they would be waited for while any grandchild holds one.
    with log.open("w") as err, told.open("w") as out:
        done = subprocess.run(command, stdout=out, stderr=err, env=other, umask=0o002)
    assert done.returncode == 0, log.read_text()
    # Digests: pytest would show how two contents of 40 MB differ, which takes it hours.
    written = json.loads(told.read_text())
    assert written["archive"] == str(tmp_path / archive.name)
    assert written["sha256"] == hashlib.sha256(archive.read_bytes()).hexdigest()
    found = [_digests(tmp_path / archive.name), _digests(archive)]
    assert found[0] == found[1]


def test_the_archive_predicts_what_the_bundle_predicts(archive, images, tmp_path):
    written = []
    for number, bundle in enumerate((SHIPPED, archive)):
        output = tmp_path / f"{number}.jsonl"
        CliRunner().invoke(
            app, ["predict", "--bundle", str(bundle), "--output", str(output), *map(str, images)]
        )
        written.append(output.read_text())
    assert written[0] == written[1]
    assert '"status": "ok"' in written[0]


def test_the_onnx_example_needs_neither_torch_nor_monai_and_says_the_same(folder, images, tmp_path):
    image = draw_radiograph("covid", seed=3, size=300)
    pictures = [tmp_path / "8.png", tmp_path / "16.png"]
    Image.fromarray((image * 255).astype(np.uint8)).save(pictures[0])
    Image.fromarray((image * 65535).astype(np.uint16)).save(pictures[1])
    blocked = "import sys; sys.modules.update(torch=None, monai=None, covid_monai=None); "
    code = f"{blocked}import runpy; runpy.run_path({str(EXAMPLE)!r}, run_name='__main__')"
    command = [sys.executable, "-c", code, str(folder), *map(str, [*pictures, *images])]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    ours = {record.file: record for record in Classifier(folder).predict([*pictures, *images])}
    compared = 0
    for line in map(json.loads, lines):
        if ours[line["file"]].ok:
            assert line["probabilities"] == pytest.approx(ours[line["file"]].probabilities, abs=1e-3)
            compared += 1
    assert compared >= len(images)
    assert ours[str(pictures[1])].ok


def test_monai_runs_the_unpacked_bundle(folder, images, tmp_path):
    command = [sys.executable, "-W", "ignore", "-m", "monai.bundle", "run"]
    command += ["--config_file", "configs/inference.yaml", "--dataset_dir", str(images[0].parent)]
    command += ["--output_dir", str(tmp_path / "out")]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    assert len((tmp_path / "out" / "predictions.csv").read_text().splitlines()) >= len(images)


def test_monais_own_exports_work_on_the_bundle(tmp_path):
    common = ["--config_file", SHIPPED / "configs" / "inference.yaml", "--key_in_ckpt", "model"]
    common += ["--meta_file", SHIPPED / "configs" / "metadata.json"]
    common += ["--ckpt_file", SHIPPED / "models" / "model.pt", "--net_id", "network_def"]
    for name, more in (("ckpt_export", ["--bundle_root", SHIPPED]), ("onnx_export", [])):
        path = tmp_path / f"{name}.out"
        command = [sys.executable, "-W", "ignore", "-m", "monai.bundle", name, *common, *more]
        subprocess.run([*map(str, command), "--filepath", str(path)], check=True, capture_output=True)
        assert path.stat().st_size > 10 * 2**20


OFFLINE = """
set -e
mount --bind "$1" "$1" && mount -o remount,ro,bind "$1"
if touch "$1/x" 2>/dev/null; then exit 1; fi
cd "$1/{name}"
"$2/covid-monai" predict --bundle . --output "$4/ours.jsonl" "$3"
"$2/covid-monai" bundle verify .
run="-m monai.bundle run --config_file configs/inference.yaml"
"$2/python" -W ignore $run --dataset_dir "$3" --output_dir "$4"
"""


@pytest.mark.skipif(
    "COVID_MONAI_CLEAN_ENVIRONMENT" not in os.environ,
    reason="installs torch again: set COVID_MONAI_CLEAN_ENVIRONMENT=1",
)
def test_wheel_and_pins_are_all_that_is_needed_offline_and_read_only(folder, images, tmp_path):
    """In a network of its own, without a way out, and from a mount that cannot be written."""
    apart = ["unshare", "--net", "--mount"]
    if subprocess.run([*apart, "true"], capture_output=True).returncode:
        pytest.skip("needs the right to make namespaces (root)")
    venv.create(tmp_path / "clean", with_pip=True)
    binaries, wheels = tmp_path / "clean" / "bin", folder / "wheels"
    install = [binaries / "pip", "install", "--quiet", "--disable-pip-version-check"]
    install += [next(wheels.glob("covid_monai-*.whl")), "-r", wheels / "requirements.txt"]
    subprocess.run(install, check=True)
    arguments = [folder.parent, binaries, images[0].parent, tmp_path]
    command = [*apart, "bash", "-c", OFFLINE.format(name=NAME), "offline", *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len((tmp_path / "ours.jsonl").read_text().splitlines()) >= len(images)
    assert len((tmp_path / "predictions.csv").read_text().splitlines()) >= len(images)


def _flip_a_byte(folder, archive):
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 0x40
    (folder.parent / "changed.zip").write_bytes(content)
    return folder.parent / "changed.zip"


def _cut_off(folder, archive):
    (folder.parent / "changed.zip").write_bytes(archive.read_bytes()[:-100_000])
    return folder.parent / "changed.zip"


def _leave_out(folder, _):
    (folder / "models" / "gate.npz").unlink()
    return repacked(folder, digests=False)


def _add(folder, _):
    (folder / "docs" / "extra.bin").write_bytes(b"x")
    return repacked(folder, digests=False)


def _without_digests(folder, _):
    (folder / CHECKSUMS).unlink()
    return repacked(folder, digests=False)


def _wrong_digest(folder, _):
    (folder / "configs" / "inference.yaml").write_text("class_names: []\n")
    return repacked(folder, digests=False)


def _traverse(folder, archive):
    path = shutil.copy(archive, folder.parent / "changed.zip")
    with zipfile.ZipFile(path, "a") as changed:
        changed.writestr(f"{NAME}/../../escaped.txt", "x")
    return path


def _link(folder, archive):
    path = shutil.copy(archive, folder.parent / "changed.zip")
    with zipfile.ZipFile(path, "a") as changed:
        entry = zipfile.ZipInfo(f"{NAME}/link")
        entry.external_attr = 0o120777 << 16
        changed.writestr(entry, "/etc/passwd")
    return path


def _other_preprocessing(folder, _):
    path = folder / "configs" / "inference.yaml"
    path.write_text(path.read_text().replace("upper: 99.0", "upper: 99.9"))
    return repacked(folder)


def _other_classes(folder, _):
    path = folder / "configs" / "inference.yaml"
    config = yaml.safe_load(path.read_text())
    config["class_names"] = config["class_names"][::-1]
    path.write_text(yaml.safe_dump(config))
    return repacked(folder)


class _RunsCode:
    def __reduce__(self):
        return Path.touch, (Path("code_was_run"),)


def _pickled_code(folder, _):
    torch.save({"model": _RunsCode()}, folder / "models" / "model.pt")
    return repacked(folder)


def _other_weights(folder, _):
    content = torch.load(folder / "models" / "model.pt", weights_only=True)
    content["model"]["_fc.bias"] += 1
    torch.save(content, folder / "models" / "model.pt")
    return repacked(folder)


def _not_finite(folder, _):
    content = torch.load(folder / "models" / "model.pt", weights_only=True)
    content["model"]["_fc.bias"][0] = torch.nan
    torch.save(content, folder / "models" / "model.pt")
    _change_json(folder / "export.json", weights_sha256=compute_sha256(folder / "models" / "model.pt"))
    return repacked(folder)


def _not_finite_unpacked(folder, _):
    path = _not_finite(folder, _)
    path.unlink()
    return folder


def _put_in(folder, _):
    (folder / "models" / "other.pt").write_bytes(b"x")
    return folder


CORRUPTIONS = {
    _flip_a_byte: "damaged",
    _cut_off: "is not a zip archive, or is incomplete or damaged",
    _leave_out: "models/gate.npz is missing",
    _add: "docs/extra.bin was added",
    _without_digests: "SHA256SUMS is missing",
    _wrong_digest: "configs/inference.yaml is damaged or was changed",
    _traverse: "escaped.txt' would be written outside",
    _link: "link is a link or a device",
    _other_preprocessing: "trained under another preprocessing",
    _other_classes: "models/operating_point.json is for the classes normal, pneumonia, covid",
    _pickled_code: "model.pt is damaged, or no training of this project wrote it",
    _other_weights: "gate.npz was fitted for other weights",
    _not_finite: "model.pt holds values that are infinite or not a number, in _fc.bias",
    _not_finite_unpacked: "model.pt holds values that are infinite or not a number, in _fc.bias",
    _put_in: "models/other.pt was added",
}


def _change_json(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _wrong_contract(folder):
    _change_json(folder / "configs" / "metadata.json", preprocessing={})


def _code_for_a_class(folder):
    path = folder / "configs" / "metadata.json"
    path.write_text(
        path.read_text().replace('"2": "covid"', json.dumps("2") + ": " + json.dumps("$open('x')"))
    )


def _wrong_record(folder):
    _change_json(folder / "export.json", weights_sha256="0" * 64)


def _no_record(folder):
    (folder / "export.json").unlink()


def _no_wheel(folder):
    next((folder / "wheels").glob("*.whl")).unlink()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_wrong_contract, "metadata.json describes another preprocessing"),
        (_code_for_a_class, "metadata.json names other classes"),
        (_wrong_record, "export.json has another weights_sha256"),
        (_no_record, "export.json is missing"),
        (_no_wheel, "wheels/ holds no wheel of covid_monai"),
    ],
)
def test_what_only_verify_looks_at_is_named_too(change, message, folder):
    change(folder)
    with pytest.raises(ValueError, match=message):
        verify_bundle(repacked(folder))


@pytest.mark.parametrize("corrupt", CORRUPTIONS, ids=lambda corrupt: corrupt.__name__)
def test_what_was_changed_is_refused_by_name(corrupt, folder, archive, images, monkeypatch):
    monkeypatch.chdir(folder.parent)
    path = corrupt(folder, archive)
    with pytest.raises(ValueError, match=CORRUPTIONS[corrupt]) as error:
        verify_bundle(path)
    assert path.name in str(error.value)
    result = CliRunner().invoke(app, ["predict", "--bundle", str(path), str(images[0])])
    assert isinstance(result.exception, ValueError)
    assert CORRUPTIONS[corrupt] in str(result.exception)
    assert not list(folder.parent.rglob("escaped.txt"))
    assert not Path("code_was_run").exists()


def test_no_archive_is_written_when_a_form_differs(folder, monkeypatch, tmp_path):
    monkeypatch.setattr(  # takes a quarter of a minute
        "covid_monai.export.archive.write_formats",
        lambda bundle: [shutil.copy2(folder / "models" / name, bundle.root / "models") for name in FORMS],
    )
    monkeypatch.setattr(
        "covid_monai.export.network_formats.load_onnx",
        lambda _: lambda images: np.full((len(images), 3), 1 / 3),
    )
    with pytest.raises(ValueError, match=r"models/model\.onnx by"):
        export_bundle(SHIPPED, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_in_place_of_the_folder_is_named_at_once(tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(FileExistsError, match=r"out is a file\. Name a folder"):
        export_bundle(SHIPPED, tmp_path / "out")


def test_another_network_of_two_classes_is_exported_and_other_weights_stay(archive, tmp_path):
    settings = {"class_names": ["no", "yes"], "network_name": "densenet121", "image_size": 64}
    bundle = Bundle(SHIPPED, **settings).copy_to(tmp_path / "run")
    save_checkpoint(bundle.checkpoint(bundle.build_network()), bundle.checkpoint_path)
    written = export_bundle(bundle.root, tmp_path / "out")
    assert max(verify_bundle(written)["parity"]["max_abs_difference"].values()) <= 1e-4
    shutil.copy(archive, tmp_path / "other.zip")
    (tmp_path / "other.zip").replace(written)
    with pytest.raises(FileExistsError, match="holds other weights"):
        export_bundle(bundle.root, tmp_path / "out")
    assert _digests(written) == _digests(archive)


def test_parts_that_do_not_belong_together_are_not_exported(folder, tmp_path):
    (folder / CHECKSUMS).unlink()
    path = folder / "models" / "operating_point.json"
    point = json.loads(path.read_text())
    _change_json(path, class_names=point["class_names"][::-1])
    with pytest.raises(ValueError, match="operating_point"):
        export_bundle(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
