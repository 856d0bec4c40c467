"""`covid-monai train`: the training of a bundle's train.yaml, from any folder."""

from pathlib import Path
from typing import Annotated, Any

from covid_monai.bundle.shipped import SHIPPED_BUNDLE, shipped_by_name, shipped_config, shipped_names
from covid_monai.cli.options import (
    DeviceOption,
    complete_setting,
    complete_words,
    option,
    parse_settings,
)

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
    train_config = shipped_config("train.yaml", shipped_by_name(bundle))
    given = parse_settings(settings, train_config)
    for name, instead in _OPTIONS.items():
        if name in given:
            raise ValueError(f"--set {name}: give {instead} instead.")
    if not datalist.is_file():
        problem = "is a folder; name a datalist in it" if datalist.is_dir() else "does not exist"
        raise FileNotFoundError(f"--datalist {datalist} {problem}.")
    for file in overlays or ():
        _check_overlay(file)
    if dataset_dir is not None and not dataset_dir.is_dir():
        raise FileNotFoundError(f"--dataset-dir {dataset_dir} is not a folder.")

    from covid_monai.bundle.composed_config import run_workflow
    from covid_monai.inference.classifier import choose_device

    own: dict[str, Any] = {"bundle_root": train_config.parents[1], "datalist": datalist.absolute()}
    own |= {"output_dir": output.absolute(), "resume": resume, "device": choose_device(device)}
    if dataset_dir is not None:
        own["dataset_dir"] = dataset_dir.absolute()
    run_workflow([train_config, *(overlays or ())], workflow_type="train", data=given | own)


def _check_overlay(file: Path) -> None:
    """Refuse an overlay that MONAI could not read, because MONAI does not name the file."""
    import yaml

    from covid_monai.core.errors import first_line

    if not file.is_file():
        raise FileNotFoundError(f"--config {file} does not exist, or is a folder.")
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"--config {file} is not a YAML file ({first_line(error)}).") from error
    if not isinstance(content, dict):
        raise ValueError(f"--config {file} holds no settings. Write lines such as `max_epochs: 5`.")
