"""One network of several runs: `run average` of train.yaml."""

import pytest
import torch

from covid_monai.bundle import Bundle
from covid_monai.bundle.bundle import CheckpointError, save_checkpoint
from covid_monai.bundle.shipped import shipped_bundle
from covid_monai.inference.classifier import Classifier
from covid_monai.training.averaging import average_runs
from covid_monai.training.run_folder import RunSettings


@pytest.fixture
def bundle():
    return Bundle(shipped_bundle(), class_names=["no", "yes"], image_size=64, network_name="resnet10")


@pytest.fixture
def runs(bundle, tmp_path):
    """Two run folders without a training, whose weights are of two seeds."""
    folders = [tmp_path / name for name in "ab"]
    for seed, folder in enumerate(folders):
        torch.manual_seed(seed)
        made = bundle.copy_to(folder)
        facts = {"epoch": 1 + seed, "metric": 0.5 + seed}
        save_checkpoint(made.checkpoint(made.build_network()) | facts, made.checkpoint_path)
        write_settings(folder, draw_seed=seed)
    return folders


def write_settings(folder, **changes):
    """Write the state of a training with settings, as a run does."""
    settings = {"seed": 0, "draw_seed": 0, "learning_rate": 0.1, "datalist_digest": "a"} | changes
    save_checkpoint({"settings": settings}, folder / "models" / "last.pt")


def settings_of(**values):
    return RunSettings(values, {"datalist_digest": "a"}, may_differ=("average_of",), not_logged=())


def average(runs, output, like):
    """Average runs, with two batches of noise for the batch-norm statistics."""
    batches = torch.randn(2, 8, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    average_runs(
        runs,
        output,
        like,
        settings=settings_of(seed=0, draw_seed=0, average_of=["a", "b"]),
        batches=batches,
        prepare_batch=lambda batch, _: (batch, None),
        device="cpu",
    )


def weights(folder):
    return torch.load(folder / "models" / "model.pt", weights_only=True)


def test_the_mean_of_the_weights_is_a_bundle(runs, tmp_path):
    average(runs, tmp_path / "mean", Bundle(runs[0]))
    first, second, mean = (weights(folder) for folder in (*runs, tmp_path / "mean"))
    assert mean["metric"] == 1.5
    assert set(mean["model"]) == set(first["model"])
    for name, value in mean["model"].items():
        if "running" in name:
            assert not torch.equal(value, (first["model"][name] + second["model"][name]) / 2)
        elif value.is_floating_point():
            torch.testing.assert_close(value, (first["model"][name] + second["model"][name]) / 2)
    network = Bundle(tmp_path / "mean").build_network()
    Bundle(tmp_path / "mean").load_weights(network)
    batches = torch.randn(2, 8, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    found = network.conv1(batches.flatten(0, 1))
    torch.testing.assert_close(network.bn1.running_mean, found.mean((0, 2, 3)), atol=1e-5, rtol=1e-4)


def test_what_cannot_be_averaged_is_refused_and_nothing_is_written(runs, bundle, tmp_path):
    like, output = Bundle(runs[0]), tmp_path / "mean"
    with pytest.raises(ValueError, match="two or more run folders"):
        average(runs[:1], output, like)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        average([runs[0], tmp_path / "nowhere"], output, like)
    other = Bundle(bundle.root, class_names=["no", "yes"], image_size=32, network_name="resnet10").copy_to(
        tmp_path / "small"
    )
    save_checkpoint(
        other.checkpoint(other.build_network()) | {"epoch": 1, "metric": 1}, other.checkpoint_path
    )
    write_settings(tmp_path / "small", draw_seed=1)
    with pytest.raises(CheckpointError, match="small"):
        average([runs[0], tmp_path / "small"], output, like)
    (tmp_path / "damaged" / "models").mkdir(parents=True)
    (tmp_path / "damaged" / "models" / "model.pt").write_bytes(b"no weights")
    write_settings(tmp_path / "damaged", draw_seed=1)
    with pytest.raises(CheckpointError, match="damaged"):
        average([runs[0], tmp_path / "damaged"], output, like)
    assert not output.exists()
    output.mkdir()
    with pytest.raises(FileExistsError, match="exists already"):
        average(runs, output, like)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"draw_seed": 0}, r"a and .*b have the same draw_seed \(0\)"),
        ({"seed": 7}, r"b was trained with other settings \(seed was 7, now 0\)"),
        ({"datalist_digest": "other"}, "datalist_digest was other, now a"),
    ],
)
def test_runs_that_did_not_begin_alike_or_have_other_data_are_refused(runs, tmp_path, changes, message):
    write_settings(runs[1], **{"draw_seed": 1} | changes)
    with pytest.raises(ValueError, match=message):
        average(runs, tmp_path / "mean", Bundle(runs[0]))
    assert not (tmp_path / "mean").exists()


def test_a_run_whose_settings_are_not_known_is_refused(runs, tmp_path):
    (runs[1] / "models" / "last.pt").unlink()
    with pytest.raises(FileNotFoundError, match=r"last\.pt is missing, so the settings"):
        average(runs, tmp_path / "mean", Bundle(runs[0]))
    assert not (tmp_path / "mean").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("store")
def test_runs_with_one_seed_begin_alike_and_their_average_decides(train, phantoms, tmp_path):
    runs = [tmp_path / f"draw{draw}" for draw in range(2)]
    for draw, run in enumerate(runs):
        train(run, phantoms, draw_seed=draw, max_epochs=1, learning_rate=1e-9)
    first, second = (weights(run)["model"] for run in runs)
    for name in ("fc.weight", "layer4.0.conv1.weight"):  # hardly trained, so that the first weights show
        torch.testing.assert_close(first[name], second[name], atol=1e-6, rtol=0)
    assert not torch.equal(first["bn1.running_mean"], second["bn1.running_mean"])
    averaging = {"run_id": "average", "average_of": [str(run) for run in runs]}
    with pytest.raises(RuntimeError) as refused:  # MONAI's, around ours
        train(tmp_path / "mean", phantoms, **averaging, seed=1)
    assert "seed was 0, now 1" in str(refused.value.__cause__)
    assert not (tmp_path / "mean").exists()
    train(tmp_path / "mean", phantoms, **averaging)
    models = {path.name for path in (tmp_path / "mean" / "models").iterdir()}
    assert models >= {
        "model.pt",
        "calibration.json",
        "operating_point.json",
        "score_reference.json",
        "gate.npz",
    }
    image = next(phantoms.parent.rglob("*.dcm"))
    (prediction,) = Classifier(tmp_path / "mean", device="cpu").predict([image])
    assert prediction.status.value in ("ok", "refused")
