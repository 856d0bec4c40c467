"""`covid-monai train`: the training of a bundle's train.yaml, from any folder."""

from pathlib import Path
from typing import Annotated, Any

from covid_monai.bundle.shipped import SHIPPED_BUNDLE, find_shipped, shipped_config, shipped_names
from covid_monai.cli.options import DeviceOption, complete_words, option
from covid_monai.cli.train_settings import complete_setting, parse_settings

# Settings of train.yaml that this command sets by itself.
_OPTIONS = {
    "bundle_root": "--bundle",
    "datalist": "--datalist",
    "dataset_dir": "--dataset-dir",
    "device": "--device",
    "output_dir": "--output",
    "resume": "--resume",
}


def train(
    datalist: Annotated[Path, option("train.datalist")],
    output: Annotated[Path, option("train.output")],
    bundle: Annotated[
        str, option("train.bundle", autocompletion=complete_words(*shipped_names()))
    ] = SHIPPED_BUNDLE.name,
    overlays: Annotated[list[Path] | None, option("train.overlays", "--config")] = None,
    settings: Annotated[
        list[str] | None, option("train.settings", "--set", autocompletion=complete_setting)
    ] = None,
    dataset_dir: Annotated[Path | None, option("train.dataset_dir")] = None,
    device: DeviceOption = None,
    resume: Annotated[bool, option("train.resume", "--resume")] = False,
) -> None:
    """Train a bundle on a datalist. The output folder becomes a bundle with the best weights.

    The same as python -m monai.bundle run training with the train.yaml of a bundle that comes with this
    package. A run that was stopped goes on with --resume.
    """
    train_config = shipped_config("train.yaml", find_shipped(bundle))
    given = parse_settings(settings, train_config)
    for name, instead in _OPTIONS.items():
        if name in given:
            raise ValueError(f"--set {name}: give {instead} instead.")
    for file in (datalist, *(overlays or ())):
        if not file.is_file():
            raise FileNotFoundError(f"{file} does not exist.")
    if dataset_dir is not None and not dataset_dir.is_dir():
        raise FileNotFoundError(f"--dataset-dir {dataset_dir} is not a folder.")

    from covid_monai.bundle.composed_config import run_workflow
    from covid_monai.inference.classifier import choose_device

    own: dict[str, Any] = {"bundle_root": train_config.parents[1], "datalist": datalist.absolute()}
    own |= {"output_dir": output.absolute(), "resume": resume, "device": choose_device(device)}
    if dataset_dir is not None:
        own["dataset_dir"] = dataset_dir.absolute()
    run_workflow([train_config, *(overlays or ())], workflow_type="train", data=given | own)
