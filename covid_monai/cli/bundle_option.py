"""Which bundle a command uses."""

from pathlib import Path
from typing import Annotated

import typer

import covid_monai
from covid_monai.cli.completion import bundles, words

SHIPPED_BUNDLE = Path("bundles") / "covid_cxr_classification"

BundleOption = Annotated[
    Path | None,
    typer.Option(
        "--bundle",
        metavar="DIR",
        help="Bundle folder, or the output folder of a training run; for predict also an exported zip.",
        show_default="the shipped bundle",
        autocompletion=bundles,
    ),
]
DeviceOption = Annotated[
    str | None,
    typer.Option(
        metavar="cpu|cuda",
        help="Where the network runs.",
        show_default="the GPU if there is one",
        autocompletion=words("cpu", "cuda"),
    ),
]
BackendOption = Annotated[
    str | None,
    typer.Option(
        "--backend",
        metavar="NAME",
        help="Who computes the network: openvino, onnxruntime, torch.",
        show_default="the first of these that is installed and runs on the device",
        autocompletion=words("openvino", "onnxruntime", "torch"),
    ),
]


def bundle_folder(given: Path | None) -> Path:
    """The bundle that was given, else the shipped one: beside the package, or below the current folder.

    Raises:
        FileNotFoundError: If there is none, or it has no trained weights.
    """
    checkout = Path(covid_monai.__file__).parent.parent
    shipped = [root / SHIPPED_BUNDLE for root in (checkout, Path.cwd())]
    folder = given or next((folder for folder in shipped if (folder / "configs").is_dir()), None)
    if folder is None:
        raise FileNotFoundError(
            f"the shipped bundle is not at {shipped[0]}, nor at {shipped[1]}: give a bundle with --bundle "
            "DIR, or run this in a clone of the repository."
        )
    if not (folder / "configs" / "inference.yaml").is_file():
        raise FileNotFoundError(
            f"{folder} is not a bundle: configs/inference.yaml is missing there. Give the folder of a "
            "bundle, or the --output_dir of a training run."
        )
    if not (folder / "models" / "model.pt").is_file():
        raise FileNotFoundError(
            f"{folder} has no trained weights (models/model.pt). Train it with `python -m monai.bundle run "
            f"training --config_file {folder}/configs/train.yaml ...`, or give --bundle the --output_dir of "
            "a finished run."
        )
    return folder
