"""A bundle on disk: its settings, its one preprocessing, its network with checked weights.

Training, evaluation, prediction and every other consumer take the way of the pixels from here, that is
from the bundle's own `configs/inference.yaml`.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import yaml
from monai.bundle import ConfigParser
from torch import nn

from covid_monai.bundle.bundle_zip import check_sums, sha256
from covid_monai.core.atomic_files import replace_atomically, write_text_atomically
from covid_monai.evaluation.decisions.calibration import Calibration
from covid_monai.evaluation.decisions.operating_point import OperatingPoint
from covid_monai.evaluation.decisions.score_reference import ScoreReference

SETTINGS = ("class_names", "image_size", "network_name")
SHIPPED_SECTION = "## The shipped weights"  # of the bundle's docs/README.md
# Where a config looks for its bundle when it does not run in the bundle's own folder.
_ROOT_LINE = re.compile(r"^bundle_root: .* else .*$", re.MULTILINE)
_ROOT_DEFAULT = re.compile(r"'[^']*'$")  # at the end of that line's expression


class CheckpointError(ValueError):
    """A checkpoint that does not belong to this bundle's network or preprocessing."""


class Bundle:
    """One bundle folder, read through MONAI's `ConfigParser`.

    Args:
        root: Folder with `configs/inference.yaml` and `configs/metadata.json`.
        overrides: Values for `SETTINGS`; None keeps what `inference.yaml` says.

    Raises:
        FileNotFoundError: If `root` is not a bundle.
        ArchiveError: If it was exported, and is no longer as it was.
    """

    def __init__(self, root: str | Path, **overrides: Any) -> None:
        self.root = Path(root)
        models = self.root / "models"
        self.checkpoint_path = models / "model.pt"  # weights of the network
        self.calibration_path = models / "calibration.json"  # temperature and conformal thresholds
        self.operating_point_path = models / "operating_point.json"  # thresholds of calibrated probabilities
        self.gate_path = models / "gate.npz"  # the input gate's statistics of the training images
        self.score_reference_path = models / "score_reference.json"  # what drift is measured against
        config = self.root / "configs" / "inference.yaml"
        if not config.is_file():
            raise FileNotFoundError(
                f"{self.root} is not a bundle: {config} is missing. Give the folder of a bundle, such as "
                "bundles/covid_cxr_classification or the --output_dir of a training run."
            )
        check_sums(self.root)
        self._parser = ConfigParser()
        self._parser.read_config(config)
        self._parser.read_meta(self.root / "configs" / "metadata.json")
        self._parser.update({"bundle_root": str(self.root)})
        self._parser.update({key: value for key, value in overrides.items() if value is not None})

    @property
    def model_files(self) -> tuple[Path, ...]:
        """All that is made of images, whether it exists or not; `model.pt` first."""
        fitted = (self.calibration_path, self.operating_point_path, self.gate_path, self.score_reference_path)
        return self.checkpoint_path, *fitted

    @property
    def metadata(self) -> dict[str, Any]:
        """`configs/metadata.json`."""
        return self._parser["_meta_"]

    @property
    def name(self) -> str:
        """The bundle's name without spaces, as in its archive."""
        return self.metadata["name"]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names in the order of the network's outputs."""
        return tuple(self._parser["class_names"])

    @property
    def image_size(self) -> int:
        """Rows and columns of the network's input, in pixels."""
        return int(self._parser["image_size"])

    @property
    def network_name(self) -> str:
        """A name of `covid_monai.networks.NETWORK_NAMES`."""
        return self._parser["network_name"]

    @property
    def operating_point(self) -> OperatingPoint | None:
        """The thresholds that training chose on its validation split; None if the bundle stores none."""
        return OperatingPoint.load(self.operating_point_path) if self.operating_point_path.is_file() else None

    @property
    def calibration(self) -> Calibration | None:
        """What training fitted on its validation split; None if the bundle stores none."""
        return Calibration.load(self.calibration_path) if self.calibration_path.is_file() else None

    @property
    def score_reference(self) -> ScoreReference | None:
        """How the probabilities were spread on the validation split; None if the bundle stores none."""
        path = self.score_reference_path
        return ScoreReference.load(path) if path.is_file() else None

    @property
    def identity(self) -> dict[str, str]:
        """What names this model in every result: name, version, digests of weights and preprocessing."""
        return {
            "name": self.name,
            "version": self.metadata["version"],
            "weights_sha256": sha256(self.checkpoint_path),
            "preprocessing_digest": self.preprocessing_digest,
        }

    @property
    def network_digest(self) -> str:
        """SHA-256 of the weights and of all that `load_network` builds them into or checks them against.

        Raises:
            FileNotFoundError: If the bundle has no weights.
        """
        _require_weights(self.checkpoint_path)
        definition = self._filled_in(self._parser["network_def"])
        weights = [sha256(self.checkpoint_path), self.preprocessing_digest]
        made_of = [*weights, self.class_names, self.image_size, definition]
        return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()

    @cached_property
    def preprocessing(self) -> Any:
        """MONAI `Compose`: `{"image": path}` to `{"image": float32 [1, S, S]}`."""
        return self._parser.get_parsed_content("preprocessing")

    @property
    def preprocessing_digest(self) -> str:
        """SHA-256 of the preprocessing section with its settings filled in."""
        text = json.dumps(self._filled_in(self._parser["preprocessing"]), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def preprocessing_contract(self) -> dict[str, Any]:
        """What turns a file into the network's input, for those who do not read `inference.yaml`."""
        return {
            "steps": self._filled_in(self._parser["preprocessing"])["transforms"],
            "image_size": [self.image_size, self.image_size],
            "digest": self.preprocessing_digest,
        }

    def build_network(self) -> nn.Module:
        """The network of `network_def` with random weights."""
        return self._parser.get_parsed_content("network_def", instantiate=True)

    def load_network(self, device: torch.device | str = "cpu") -> nn.Module:
        """The network with the bundle's weights, in evaluation mode on `device`.

        Raises:
            FileNotFoundError: If the bundle has no weights.
            CheckpointError: If they were trained under another preprocessing, or do not fit.
        """
        network = self.build_network()
        load_checkpoint(network, self.checkpoint_path, bundle=self)
        return network.to(device).eval()

    def checkpoint(self, network: nn.Module) -> dict[str, Any]:
        """What `models/model.pt` holds: weights under "model" (MONAI Label's key) and what they need."""
        return {
            "model": network.state_dict(),
            "preprocessing_digest": self.preprocessing_digest,
            "class_names": list(self.class_names),
            "image_size": self.image_size,
            "network_name": self.network_name,
        }

    def copy_to(self, folder: str | Path) -> "Bundle":
        """Write this bundle's configs, docs and licence to `folder` with the overrides baked in.

        A training run's output is thus itself a bundle, whatever classes, size and network it used.
        """
        folder = Path(folder)
        for part in ("configs", "docs", "LICENSE"):
            source = self.root / part
            if source.is_dir():
                shutil.copytree(source, folder / part, dirs_exist_ok=True)
            elif source.is_file():
                shutil.copy2(source, folder / part)
        self._bake_settings(folder / "configs" / "inference.yaml", SETTINGS)
        # Trained again, the copy stays what it is; its classes come from the datalist.
        self._bake_settings(folder / "configs" / "train.yaml", ("image_size", "network_name"))
        self._bake_metadata(folder / "configs" / "metadata.json")
        bake_root(folder, str(folder))
        _drop_shipped_weights(folder / "docs" / "README.md")
        return Bundle(folder)

    def _bake_settings(self, path: Path, keys: Sequence[str]) -> None:
        from ruamel.yaml import YAML
        from ruamel.yaml.scalarstring import DoubleQuotedScalarString

        editor = YAML()  # keeps comments and order
        editor.width = 4096
        config = editor.load(path.read_text(encoding="utf-8"))
        for key in keys:
            value = self._parser[key]
            if config[key] != value:
                # Quoted: YAML takes bare words such as no for something else.
                config[key] = (
                    value
                    if isinstance(value, str | int)
                    else [DoubleQuotedScalarString(name) for name in value]
                )
        with replace_atomically(path) as temporary:
            editor.dump(config, temporary)

    def _bake_metadata(self, path: Path) -> None:
        metadata = json.loads(path.read_text(encoding="utf-8"))
        formats = metadata["network_data_format"]
        formats["inputs"]["image"]["spatial_shape"] = [self.image_size, self.image_size]
        names = {str(index): name for index, name in enumerate(self.class_names)}
        formats["outputs"]["pred"].update(num_channels=len(names), channel_def=names)
        write_text_atomically(path, json.dumps(metadata, indent=4) + "\n")

    def _filled_in(self, config: Any) -> Any:
        if isinstance(config, dict):
            return {key: self._filled_in(value) for key, value in config.items()}
        if isinstance(config, list):
            return [self._filled_in(value) for value in config]
        if isinstance(config, str) and config.startswith("@"):
            return self._filled_in(self._parser[config[1:]])
        return config


def stored_temperature(root: str | Path) -> float:
    """What a bundle's logits are divided by before softmax; 1 if it stores no calibration.

    Read anew at each call: MONAI Label keeps its configs parsed while a training replaces the weights.
    """
    path = Path(root) / "models" / "calibration.json"
    return Calibration.load(path).temperature if path.is_file() else 1.0


def bake_root(folder: Path, root: str) -> None:
    """Let the configs in `folder` look in `root` for their bundle where they do not run in its folder."""

    def baked(line: re.Match[str]) -> str:
        expression = yaml.safe_load(line[0])["bundle_root"]  # however it is quoted there
        expression = _ROOT_DEFAULT.sub(lambda _: string_literal(root), expression)
        return f"bundle_root: {json.dumps(expression, ensure_ascii=False)}"

    for path in (folder / "configs").glob("*.yaml"):
        write_text_atomically(path, _ROOT_LINE.sub(baked, path.read_text(encoding="utf-8")))


def string_literal(text: str) -> str:
    r"""A Python string for an expression of a config, whatever stands in `text`.

    MONAI takes "#" and "@" for its own in an expression, also within a string, and quotes would end it.

    >>> string_literal("runs/o'brien #1")
    "'runs/o\\x27brien \\x231'"
    """
    return "'" + "".join(map(_escaped, text)) + "'"


def _escaped(letter: str) -> str:
    if letter.isalnum() or letter in "/._- ":
        return letter
    number = ord(letter)
    return f"\\x{number:02x}" if number < 256 else f"\\U{number:08x}"


def _drop_shipped_weights(path: Path) -> None:
    """Take the section on the shipped weights out of a copied model card: the copy gets its own."""
    if path.is_file():
        text = path.read_text(encoding="utf-8")
        write_text_atomically(
            path, re.sub(rf"^{SHIPPED_SECTION}$.*?(?=^## |\Z)", "", text, flags=re.M | re.S)
        )


def load_checkpoint(network: nn.Module, path: str | Path, *, bundle: Bundle) -> nn.Module:
    """Load the weights of a `models/model.pt` into `network`, or raise: never random weights.

    Args:
        network: Changed in place and returned.
        path: Written by training.
        bundle: Whose preprocessing and class names the weights must have been trained under.

    Raises:
        FileNotFoundError: If `path` is missing.
        CheckpointError: If it is damaged, or made under another preprocessing, other classes or another
            network.
    """
    path = Path(path)
    _require_weights(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        digest, classes, weights = (content[key] for key in ("preprocessing_digest", "class_names", "model"))
    except Exception as error:  # torch.load raises many types for a damaged file
        raise CheckpointError(f"{path} is no checkpoint of this project, or is damaged: {error}") from error
    if digest != bundle.preprocessing_digest:
        raise CheckpointError(
            f"{path} was trained under another preprocessing ({digest[:12]}) than this bundle's "
            f"inference.yaml describes ({bundle.preprocessing_digest[:12]}): use the one of its own run."
        )
    if tuple(classes) != bundle.class_names:
        raise CheckpointError(
            f"{path} was trained on the classes {', '.join(classes)}, this bundle's inference.yaml names "
            f"{', '.join(bundle.class_names)}: use the inference.yaml of its own run."
        )
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit the network of this bundle: {error}") from error
    return network


def _require_weights(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(
            f"no trained weights at {path}. Train the bundle (python -m monai.bundle run training ...) or "
            "give the --output_dir of a finished run as the bundle."
        )


def save_atomically(content: Any, path: str | Path) -> None:
    """`torch.save` to a file that is either the old one or the new one, whenever the process dies."""
    with replace_atomically(Path(path)) as temporary:
        torch.save(content, temporary)
