"""A MONAI Label app: the stock `monaibundle` app, training on classes, a strategy that asks where it doubts.

A class is set by a label file in JSON, `{"label": "covid"}`, saved for an image as any other label is
(`PUT /datastore/label?image=ID&tag=final`). The rest (inference, other strategies) is the stock app's.
Research software, not a medical device: not for diagnosis or treatment.
"""

import csv
import json
import math
import shutil
import sys
from collections.abc import Sequence
from datetime import datetime
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from monai.bundle import ConfigWorkflow
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.interfaces.tasks.train import TrainTask
from monailabel.tasks.activelearning.epistemic import Epistemic
from monailabel.tasks.train.bundle import BundleTrainTask
from monailabel.utils.others.generic import device_list

from covid_monai.bundle import Bundle
from covid_monai.bundle.bundle_zip import CHECKSUMS
from covid_monai.core.atomic_files import replace_atomically
from covid_monai.datasets.prepare import prepare
from covid_monai.export.archive import RECORD
from covid_monai.export.network_formats import ONNX, TORCHSCRIPT
from covid_monai.inference.classifier import Classifier, choose_device

STOCK = Path(sys.prefix) / "monailabel" / "sample-apps" / "monaibundle" / "main.py"
UNCERTAINTY = "uncertainty"
_NEUTRAL = "class_{}"
# Of an export, which all speak of the weights before.
_EXPORTED = (CHECKSUMS, RECORD, f"models/{TORCHSCRIPT}", f"models/{ONNX}")


def _stock_app() -> type:
    spec = spec_from_file_location("stock_monaibundle", STOCK)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.MyApp


class ClassificationTrainTask(BundleTrainTask):
    """The bundle's own training (train.yaml, tracked in MLflow), on the classes set in MONAI Label.

    Args:
        path: The bundle's folder.
        conf: Of the server.
        runs: Folder for the runs.
    """

    def __init__(self, path: str, conf: dict[str, str], *, runs: Path) -> None:
        super().__init__(path, conf)
        self.runs = runs

    def config(self) -> dict[str, Any]:
        """What a client may set in a request."""
        return {
            "max_epochs": 10,
            "val_split": 0.2,
            "pretrained": True,
            "update_model": True,
            "device": device_list(),
        }

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Train, and put the weights into service unless `update_model` is false."""
        bundle = Bundle(self.bundle_path)
        run = self.runs / datetime.now().astimezone().strftime("monailabel-%Y%m%d-%H%M%S")
        run.mkdir(parents=True)
        write_labels(run / "labels.csv", datastore.datalist(), bundle.class_names)
        options = {**self.config(), **request}
        data = prepare(
            [("csv", run / "labels.csv")],
            output=run / "datalist.json",
            classes={_NEUTRAL.format(i): name for i, name in enumerate(bundle.class_names)},
            validation_fraction=float(options["val_split"]),
            test_fraction=0.0,
        )
        configs = bundle.root / "configs"
        workflow = ConfigWorkflow(
            workflow_type="train",
            config_file=str(configs / "train.yaml"),
            meta_file=str(configs / "metadata.json"),
            logging_file=str(configs / "logging.conf"),
            bundle_root=str(bundle.root),
            device=f"$torch.device('{choose_device(request.get('device'))}')",
            datalist=str(run / "datalist.json"),
            output_dir=str(run / run.name),
            network_name=bundle.network_name,
            image_size=bundle.image_size,
            max_epochs=int(options["max_epochs"]),
            pretrained=str(bundle.checkpoint_path) if options["pretrained"] else None,
            freeze_epochs=0,
        )
        workflow.initialize()
        workflow.run()
        workflow.finalize()
        if options["update_model"]:
            put_into_service(Bundle(run / run.name), bundle, previous=run / "replaced")
        images = {split: len(items) for split, items in data.splits.items()}
        return {"run": str(run), "images": images, "updated": bool(options["update_model"])}


def write_labels(path: Path, datalist: Sequence[dict[str, str]], class_names: Sequence[str]) -> None:
    """Write `image,label` for `covid-monai data prepare csv`.

    Classes stand there by number: a collection's `viral_pneumonia` would be read as `pneumonia`.

    Raises:
        ValueError: If no image has a label, or a label file is not `{"label": NAME}` with one of the classes.
    """
    rows = []
    for item in datalist:
        try:
            label = json.loads(Path(item["label"]).read_text(encoding="utf-8"))["label"]
            rows.append((item["image"], _NEUTRAL.format(class_names.index(label))))
        except (ValueError, KeyError, TypeError) as error:
            known = ", ".join(class_names)
            raise ValueError(f'{item["label"]}: expected {{"label": NAME}}, NAME one of {known}') from error
    if not rows:
        raise ValueError("no image has a label yet: save some with the tag `final` first")
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image", "label"), *rows])


def put_into_service(trained: Bundle, served: Bundle, *, previous: Path) -> None:
    """Give the served bundle the weights, calibration, operating point and gate of a run.

    What was there before is kept in `previous`. The server answers meanwhile: every file is replaced in one
    step, so that there is no moment without weights. TorchScript, ONNX and digests of an export go.
    """
    shutil.copytree(served.root / "models", previous)
    for name in _EXPORTED:
        (served.root / name).unlink(missing_ok=True)
    for old, new in zip(served.model_files, trained.model_files, strict=True):
        if new.is_file():
            with replace_atomically(old) as temporary:
                shutil.copy(new, temporary)
        else:
            old.unlink(missing_ok=True)


class UncertaintyScoring(ScoringMethod):
    """How undecided the bundle is on each image without a label.

    Args:
        path: The bundle's folder.
    """

    def __init__(self, path: str) -> None:
        super().__init__("Entropy of the calibrated probabilities, 0 (sure) to 1; -1 for what is refused")
        self.path = path

    def __call__(self, _: dict[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Write `uncertainty` into the information on each image."""
        images = {datastore.get_image_uri(image): image for image in datastore.get_unlabeled_images()}
        scored = 0
        for prediction in Classifier(self.path).predict(images):
            value = entropy(list(prediction.probabilities.values())) if prediction.ok else -1.0
            datastore.update_image_info(images[prediction.file], {UNCERTAINTY: value})
            scored += prediction.ok
        return {"scored": scored, "refused": len(images) - scored}


def entropy(probabilities: list[float]) -> float:
    """Shannon entropy as a share of the largest that there is, in [0, 1]."""
    return -sum(p * math.log(p) for p in probabilities if p > 0) / math.log(len(probabilities))


class MyApp(_stock_app(), MONAILabelApp):
    """What MONAI Label starts: it looks for a class with `MONAILabelApp` itself among its bases."""

    def init_trainers(self) -> dict[str, TrainTask]:
        """One for each bundle."""
        runs = Path(self.app_dir) / "runs"
        return {
            name: ClassificationTrainTask(path, self.conf, runs=runs) for name, path in self.models.items()
        }

    def init_strategies(self) -> dict[str, Strategy]:
        """The stock ones, and the image on which the bundle is least decided."""
        doubt = Epistemic(key=UNCERTAINTY, desc="The image on which the model is least decided")
        return {**super().init_strategies(), UNCERTAINTY: doubt}

    def init_scoring_methods(self) -> dict[str, ScoringMethod]:
        """Run by MONAI Label after each training and each image that was asked for."""
        return {f"{name}_{UNCERTAINTY}": UncertaintyScoring(path) for name, path in self.models.items()}
