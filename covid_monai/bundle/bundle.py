"""A bundle folder: its settings, its preprocessing, its network with checked weights.

Training, evaluation, prediction and every other user take the preprocessing of an image from here, that is
from the bundle's own `configs/inference.yaml`.
"""

import hashlib
import json
import re
import shutil
from functools import cached_property
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import nn

from covid_monai.bundle import config_editing
from covid_monai.bundle.bundle_zip import compute_sha256, verify_checksums
from covid_monai.bundle.safe_config import ConfigError, SafeConfig, read_config, shorten
from covid_monai.core.atomic_files import make_private_folder, replace_atomically
from covid_monai.core.errors import first_line
from covid_monai.core.vocabulary import check_class_names
from covid_monai.evaluation.decisions.calibration import Calibration
from covid_monai.evaluation.decisions.operating_point import OperatingPoint
from covid_monai.evaluation.decisions.score_reference import ScoreReference
from covid_monai.evaluation.decisions.unseen_sources import UnseenSources
from covid_monai.networks.pretrained import find_not_finite

_MAX_IMAGE_SIZE = 4096  # pixels; networks see a few hundred


class CheckpointError(ValueError):
    """A checkpoint does not belong to the network, the classes or the preprocessing of its bundle."""


class Bundle:
    """One bundle folder, whose configs are data: see `SafeConfig`.

    Args:
        root: Folder with `configs/inference.yaml` and `configs/metadata.json`.
        trust_code: Build preprocessing and network with MONAI's `ConfigParser`, which runs the code in the
            bundle's YAML.
        overrides: Other values for `class_names`, `image_size` or `network_name`; None changes nothing.

    Raises:
        FileNotFoundError: `root` is not a bundle.
        ArchiveError: The bundle was exported, and its files have changed since.
        ConfigError: A config is damaged.
    """

    def __init__(self, root: str | Path, *, trust_code: bool = False, **overrides: Any) -> None:
        self.root = Path(root)
        self.trust_code = trust_code
        models = self.root / "models"
        self.checkpoint_path = models / "model.pt"  # weights of the network
        self.calibration_path = models / "calibration.json"  # temperature and conformal thresholds
        self.operating_point_path = models / "operating_point.json"  # thresholds of calibrated probabilities
        self.gate_path = models / "gate.npz"  # the input gate's statistics of the training images
        # Probabilities that drift is compared with.
        self.score_reference_path = models / "score_reference.json"
        self.unseen_sources_path = models / "unseen_sources.json"  # cuts for hospitals not seen in training
        config, metadata = (self.root / "configs" / name for name in ("inference.yaml", "metadata.json"))
        if missing := [path for path in (config, metadata) if not path.is_file()]:
            raise FileNotFoundError(
                f"{self.root} is not a bundle, because {missing[0]} is missing. Give the folder of a bundle, "
                "such as bundles/covid_cxr_classification, or the --output_dir of a training run."
            )
        verify_checksums(self.root)
        given = {key: value for key, value in overrides.items() if value is not None}
        self._settings = {"bundle_root": str(self.root), **given}
        self._config = SafeConfig(config, self._settings)
        self._check_settings()

    def _check_settings(self) -> None:
        """Raise `ValueError` for settings and metadata that are not plain values of the right kind."""
        config = self.root / "configs" / "inference.yaml"
        for key, kind in (("class_names", list | tuple), ("image_size", int), ("network_name", str)):
            if not isinstance(value := self._config[key], kind):
                expected = {list | tuple: "a list of names", int: "a whole number", str: "a name"}[kind]
                raise ConfigError(f"{config}: {key} is {shorten(value)}. Give {expected}.")
        if not 1 <= self.image_size <= _MAX_IMAGE_SIZE:  # one image could take all memory
            raise ConfigError(
                f"{config}: image_size is {shorten(self.image_size)}. Give 1 to {_MAX_IMAGE_SIZE} pixels."
            )
        self.class_names  # noqa: B018  # raises for other text than names
        for key in ("name", "version"):  # names of files are made from these
            value = self.metadata.get(key)
            if not isinstance(value, str) or not re.fullmatch(r"\w[\w.+-]{0,99}", value):
                path = self.root / "configs" / "metadata.json"
                raise ConfigError(f"{path}: {key} is {shorten(value)}. Use letters, digits, _ . + and -.")

    @property
    def model_files(self) -> tuple[Path, ...]:
        """Paths of all files that training makes, whether they exist or not; `model.pt` first."""
        fitted = (self.calibration_path, self.operating_point_path, self.gate_path, self.score_reference_path)
        return self.checkpoint_path, *fitted, self.unseen_sources_path

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """Content of `configs/metadata.json`."""
        return read_config(self.root / "configs" / "metadata.json")

    @property
    def name(self) -> str:
        """Name of the bundle without spaces, as in its archive."""
        return str(self.metadata["name"])

    @property
    def is_segmentation(self) -> bool:
        """Whether the network gives a mask and no class; MONAI Label reads the task from the name, too."""
        return self.name.endswith("_segmentation")

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names in the order of the network's outputs; `ValueError` as of `check_class_names`."""
        where = f"{self.root / 'configs' / 'inference.yaml'}: class_names"
        return check_class_names(self._config["class_names"], where=where)

    @property
    def image_size(self) -> int:
        """Rows and columns of the network's input, in pixels."""
        return int(self._config["image_size"])

    @property
    def network_name(self) -> str:
        """Name of the network, one of `covid_monai.networks.build.NETWORK_NAMES`."""
        return str(self._config["network_name"])

    @property
    def operating_point(self) -> OperatingPoint | None:
        """Thresholds that training chose on its validation split; None if the bundle stores none."""
        return OperatingPoint.load(self.operating_point_path) if self.operating_point_path.is_file() else None

    @property
    def calibration(self) -> Calibration | None:
        """Calibration that training fitted on its validation split; None if the bundle stores none."""
        return Calibration.load(self.calibration_path) if self.calibration_path.is_file() else None

    @property
    def score_reference(self) -> ScoreReference | None:
        """Distribution of the probabilities on the validation split; None if the bundle stores none."""
        return ScoreReference.load(self.score_reference_path) if self.score_reference_path.is_file() else None

    @property
    def unseen_sources(self) -> UnseenSources | None:
        """Cuts for naming a cause in a hospital that the training has not seen; None if none are stored."""
        return UnseenSources.load(self.unseen_sources_path) if self.unseen_sources_path.is_file() else None

    @property
    def identity(self) -> dict[str, str]:
        """Name, version, digests of weights and preprocessing: they identify this model in every result."""
        return {
            "name": self.name,
            "version": self.metadata["version"],
            "weights_sha256": compute_sha256(self.checkpoint_path),
            "preprocessing_digest": self.preprocessing_digest,
        }

    @property
    def network_digest(self) -> str:
        """SHA-256 of the weights and of everything that `load_network` builds or checks them with.

        Raises:
            FileNotFoundError: The bundle has no weights.
            UntrustedCode: The network needs code; a network that was converted before is refused, too.
        """
        _check_exists(self.checkpoint_path)
        if not self.trust_code:
            self._config.check("network_def")
        definition = self._config.resolve("network_def")
        weights = [compute_sha256(self.checkpoint_path), self.preprocessing_digest]
        return _compute_digest([*weights, self.class_names, self.image_size, definition])

    @cached_property
    def preprocessing(self) -> Any:
        """MONAI `Compose` from `{"image": path}` to `{"image": float32 [1, S, S]}`."""
        return self._build("preprocessing")

    def split_preprocessing(self) -> tuple[Any, Any]:
        """Return the loading of a file to `{"image": [1, H, W]}`, and all other steps of the preprocessing.

        Raises:
            ValueError: The preprocessing does not begin with MONAI's LoadImaged.
        """
        from monai.transforms import Compose, LoadImaged

        load, *steps = self.preprocessing.transforms
        if not isinstance(load, LoadImaged):
            raise ValueError(
                f"{self.root}/configs/inference.yaml: `preprocessing` begins with {type(load).__name__}. "
                "Begin it with LoadImaged, because the lungs are looked for in the image as it is loaded."
            )
        return load, Compose(steps)

    @property
    def preprocessing_digest(self) -> str:
        """SHA-256 of the preprocessing section with the values of its settings."""
        return _compute_digest(self._config.resolve("preprocessing"))

    @property
    def preprocessing_contract(self) -> dict[str, Any]:
        """Steps from a file to the network's input, for readers that do not read `inference.yaml`."""
        return {
            "steps": self._config.resolve("preprocessing")["transforms"],
            "image_size": [self.image_size, self.image_size],
            "digest": self.preprocessing_digest,
        }

    def build_network(self) -> nn.Module:
        """Build the network of `network_def` with random weights."""
        network: nn.Module = self._build("network_def")
        return network

    def load_network(self, device: torch.device | str = "cpu") -> nn.Module:
        """Return the network with the bundle's weights, in evaluation mode; raise as `load_weights`."""
        network = self.build_network()
        self.load_weights(network)
        return network.to(device).eval()

    def load_weights(self, network: nn.Module, path: str | Path | None = None) -> None:
        """Load a checkpoint into a network.

        Args:
            network: Network to change in place.
            path: Checkpoint; None takes the bundle's own.

        Raises:
            FileNotFoundError: The checkpoint does not exist.
            CheckpointError: The checkpoint is damaged, or belongs to other preprocessing, classes or network.
        """
        path = self.checkpoint_path if path is None else Path(path)
        _check_exists(path)
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            digest, classes = str(content["preprocessing_digest"]), tuple(map(str, content["class_names"]))
            weights = dict(content["model"])
        except Exception as error:  # torch.load raises many types for a damaged file
            # PyTorch's own words advise to load such a file in a way that runs its code.
            refused = isinstance(error, UnpicklingError)
            problem = "it holds more than numbers and names" if refused else first_line(error, limit=150)
            raise CheckpointError(
                f"The checkpoint {path} is damaged, or no training of this project wrote it ({problem}). "
                "Copy it again, or train the bundle."
            ) from error
        expected = self.preprocessing_digest
        if digest != expected:
            raise CheckpointError(
                f"The checkpoint {path} was trained under another preprocessing ({digest[:12]}) than this "
                f"inference.yaml describes ({expected[:12]}). Use the inference.yaml of its own run."
            )
        if classes != self.class_names:
            raise CheckpointError(
                f"The checkpoint {path} was trained on the classes {', '.join(classes)}, but the bundle's "
                f"inference.yaml names {', '.join(self.class_names)}. Use the inference.yaml of its own run."
            )
        broken = find_not_finite(weights)
        if broken:
            raise CheckpointError(
                f"The checkpoint {path} holds values that are infinite or not a number, in {broken}. Its "
                "training has diverged, or the file was changed. Use the weights of another run."
            )
        try:
            network.load_state_dict(weights)
        except RuntimeError as error:
            raise CheckpointError(
                f"The checkpoint {path} does not fit the bundle's network. Use the inference.yaml of its own "
                f"run ({error})."
            ) from error

    def checkpoint(self, network: nn.Module) -> dict[str, Any]:
        """Return the content of `models/model.pt`: weights under "model" (MONAI Label's key), settings."""
        return {
            "model": network.state_dict(),
            "preprocessing_digest": self.preprocessing_digest,
            "class_names": list(self.class_names),
            "image_size": self.image_size,
            "network_name": self.network_name,
        }

    def copy_files(self, folder: Path) -> None:
        """Copy this bundle's configs, docs and licence to `folder` as they are.

        Raises:
            ValueError: A link leads out of the bundle: behind it could be any file of this machine.
        """
        for part in ("configs", "docs", "LICENSE"):
            source = self.root / part
            for path in (source, *source.rglob("*")):
                if path.is_symlink() and not path.resolve().is_relative_to(self.root.resolve()):
                    raise ValueError(
                        f"{path} leads out of the bundle, to {path.resolve()}, so it is not copied. If you "
                        "want that file in the bundle, copy the folder with `cp -rL` first."
                    )
            if source.is_dir():
                shutil.copytree(source, folder / part, dirs_exist_ok=True)
            elif source.is_file():
                shutil.copy2(source, folder / part)

    def copy_with_models(self, folder: Path, *, root: str) -> None:
        """Copy everything that a prediction needs to `folder`; the configs name `root` as their bundle."""
        self.copy_files(folder)
        (folder / "models").mkdir()
        for path in self.model_files:
            if path.is_file():
                shutil.copy2(path, folder / "models" / path.name)
        config_editing.set_bundle_root(folder, root)

    def copy_to(self, folder: str | Path) -> "Bundle":
        """Write a copy without weights to `folder`, whose configs hold the overrides.

        The output of a training run is thus a bundle itself, whatever classes, size and network it used.
        """
        folder = Path(folder)
        make_private_folder(folder)
        self.copy_files(folder)
        network_name = config_editing.quote_data(self.network_name)
        settings: dict[str, Any] = {"image_size": self.image_size, "network_name": network_name}
        # Training takes the classes from its datalist.
        config_editing.set_settings(folder / "configs" / "train.yaml", settings)
        settings["class_names"] = [*self.class_names]
        config_editing.set_settings(folder / "configs" / "inference.yaml", settings)
        config_editing.set_network_format(
            folder / "configs" / "metadata.json", image_size=self.image_size, class_names=self.class_names
        )
        config_editing.set_bundle_root(folder, str(folder))
        config_editing.remove_shipped_section(folder / "docs" / "README.md")
        return Bundle(folder, trust_code=self.trust_code)

    def _build(self, section: str) -> Any:
        """Build a section of the config; raise `UntrustedCode` if that needs code that is not trusted."""
        if not self.trust_code:
            return self._config.build(section)
        from monai.bundle import ConfigParser

        parser = ConfigParser()
        parser.read_config(self.root / "configs" / "inference.yaml")
        # The name of a folder is no code.
        parser.update({key: config_editing.quote_data(value) for key, value in self._settings.items()})
        return parser.get_parsed_content(section)


def _check_exists(path: Path) -> None:
    """Raise `FileNotFoundError` if there is no checkpoint."""
    if not path.is_file():
        raise FileNotFoundError(
            f"There are no trained weights at {path}. Train the bundle (python -m monai.bundle run training "
            "...), or give the --output_dir of a finished run as the bundle."
        )


def _compute_digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def save_checkpoint(content: dict[str, Any], path: Path) -> None:
    """Write a checkpoint, so that the file is complete whenever the process dies."""
    with replace_atomically(path) as temporary:
        torch.save(content, temporary)


def load_temperature(root: str | Path) -> float:
    """Return the divisor of a bundle's logits before softmax; 1 if the bundle stores no calibration.

    The file is read at each call: MONAI Label keeps its configs parsed while a training replaces the weights.
    """
    path = Path(root) / "models" / "calibration.json"
    return Calibration.load(path).temperature if path.is_file() else 1.0
