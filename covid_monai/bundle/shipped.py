"""The bundles that are used where none is named."""

from pathlib import Path

SHIPPED_BUNDLE = Path("bundles") / "covid_cxr_classification"
LUNG_BUNDLE = Path("bundles") / "covid_cxr_lung_segmentation"


def shipped_bundle(bundle: Path = SHIPPED_BUNDLE) -> Path:
    """Return a shipped bundle, beside the package or in the current folder."""
    checkout = Path(__file__).parents[2]
    places = [root / bundle for root in (checkout, Path.cwd())]
    for place in places:
        if (place / "configs").is_dir():
            return place
    raise FileNotFoundError(
        f"The shipped bundle is neither at {places[0]} nor at {places[1]}. Run the command in a clone of the "
        "repository, or name a bundle: --bundle DIR if the command takes one, Classifier(DIR) in Python."
    )


def shipped_config(name: str, bundle: Path = SHIPPED_BUNDLE) -> Path:
    """Return a config of a shipped bundle beside the package, whose YAML may run: it is part of it."""
    path = Path(__file__).parents[2] / bundle / "configs" / name
    if path.is_file():
        return path
    raise FileNotFoundError(
        f"{path} is missing, and the {name} of another bundle would run as code. Run the command in a clone "
        "of the repository, or add --trust-code if you trust the author of your bundle."
    )


def find_bundle(folder: str | Path | None = None, *, shipped: Path = SHIPPED_BUNDLE) -> Path:
    """Return the given folder, else a shipped bundle.

    Raises:
        FileNotFoundError: If there is no bundle, or it has no weights.
    """
    folder = shipped_bundle(shipped) if folder is None else Path(folder)
    if not (folder / "configs" / "inference.yaml").is_file():
        raise FileNotFoundError(
            f"{folder} is not a bundle, because it has no configs/inference.yaml. Name the folder of a "
            "bundle, or the --output_dir of a training run."
        )
    if not (folder / "models" / "model.pt").is_file():
        raise FileNotFoundError(
            f"{folder} has no trained weights (models/model.pt). Train it with `python -m monai.bundle run "
            f"training --config_file {folder}/configs/train.yaml ...`, or give --bundle the --output_dir of "
            "a finished run."
        )
    return folder
