"""The bundles that come with this package, and which one is used where none is named."""

from pathlib import Path

from covid_monai.core.errors import unknown_choice

SHIPPED_BUNDLE = Path("bundles") / "covid_cxr_classification"
LUNG_BUNDLE = Path("bundles") / "covid_cxr_lung_segmentation"
_PACKAGE = Path(__file__).parents[1]
_HOMES = (_PACKAGE.parent, _PACKAGE)  # a clone of the repository, or a wheel


def shipped_names() -> tuple[str, ...]:
    """Return the names of the bundles that come with this package."""
    return (SHIPPED_BUNDLE.name, LUNG_BUNDLE.name)


def shipped_by_name(name: str) -> Path:
    """Return `SHIPPED_BUNDLE` or `LUNG_BUNDLE` by its name; another name is a ValueError."""
    for bundle in (SHIPPED_BUNDLE, LUNG_BUNDLE):
        if name == bundle.name:
            return bundle
    raise ValueError(f"--bundle: {unknown_choice('bundle of this package', name, shipped_names())}")


def shipped_bundle(bundle: Path = SHIPPED_BUNDLE) -> Path:
    """Return a shipped bundle, of this package or in the current folder."""
    places = [root / bundle for root in (*_HOMES, Path.cwd())]
    for place in places:
        if (place / "configs").is_dir():
            return place
    raise FileNotFoundError(
        f"The shipped bundle is neither at {places[0]} nor at {places[2]}. Install the wheel of covid-monai, "
        "run the command in a clone of the repository, or name a bundle: --bundle DIR if the command takes "
        "one, Classifier(DIR) in Python."
    )


def shipped_config(name: str, bundle: Path = SHIPPED_BUNDLE) -> Path:
    """Return a config of a bundle that comes with this package, whose YAML may run: it is part of it."""
    paths = [root / bundle / "configs" / name for root in _HOMES]
    for path in paths:
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"{paths[0]} is missing, and the {name} of another bundle would run as code. Install the wheel of "
        "covid-monai or run the command in a clone of the repository. Where a command has --trust-code, add "
        "it if you trust the author of your bundle."
    )


def find_bundle(folder: str | Path | None = None, *, shipped: Path = SHIPPED_BUNDLE) -> Path:
    """Return the given folder, or the shipped bundle of that name, else a shipped bundle.

    Raises:
        FileNotFoundError: If there is no bundle, or it has no weights.
    """
    if str(folder) in shipped_names() and not Path(str(folder)).exists():
        folder, shipped = None, shipped_by_name(str(folder))
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
