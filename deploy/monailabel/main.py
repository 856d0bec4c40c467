"""A MONAI Label app: the stock `monaibundle` app, training on classes, a strategy that asks where it doubts.

A class is set by a label file in JSON, `{"label": "covid"}`, saved for an image as any other label is
(`PUT /datastore/label?image=ID&tag=final`). The rest (inference, other strategies) is the stock app's.
Research software, not a medical device: not for diagnosis or treatment.
"""

import csv
import json
import logging
import math
import shutil
import sys
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

from covid_monai.archive import SUMS
from covid_monai.bundle import Bundle
from covid_monai.datasets.prepare import prepare
from covid_monai.export.forms import ONNX, TORCHSCRIPT
from covid_monai.export.package import RECORD
from covid_monai.inference.classifier import Classifier

logger = logging.getLogger(__name__)

STOCK = Path(sys.prefix) / "monailabel" / "sample-apps" / "monaibundle" / "main.py"
UNCERTAINTY = "uncertainty"
# Of an export, which all speak of the weights before.
_EXPORTED = (SUMS, RECORD, f"models/{TORCHSCRIPT}", f"models/{ONNX}")


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
            "device": ["cpu", "cuda"],
        }

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Train, and put the weights into service unless `update_model` is false."""
        bundle = Bundle(self.bundle_path)
        run = self.runs / datetime.now().strftime("monailabel-%Y%m%d-%H%M%S")
        run.mkdir(parents=True)
        labels = write_labels(run / "labels.csv", datastore.datalist())
        logger.info("Training on %d labelled films; the run: %s", labels, run)
        options = {**self.config(), **request}
        prepare(
            [("csv", run / "labels.csv")],
            output=run / "datalist.json",
            classes=bundle.class_names,
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
        return {"run": str(run), "labelled": labels, "updated": bool(options["update_model"])}


def write_labels(path: Path, datalist: list[dict[str, str]]) -> int:
    """Write `image,label` for `covid-monai data prepare csv`; returns the number of films.

    Raises:
        ValueError: If no film has a class, or a label file is not `{"label": NAME}`.
    """
    rows = []
    for item in datalist:
        try:
            rows.append((item["image"], json.loads(Path(item["label"]).read_text(encoding="utf-8"))["label"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f'{item["label"]}: expected JSON like {{"label": "covid"}}') from error
    if not rows:
        raise ValueError("no film has a label yet: save some with the tag `final` first")
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image", "label"), *rows])
    return len(rows)


def put_into_service(trained: Bundle, served: Bundle, *, previous: Path) -> None:
    """Copy weights, calibration, operating point and gate of a run into the served bundle.

    What they replace is kept in `previous`, as are TorchScript, ONNX and digests of the weights before.
    """
    (previous / "models").mkdir(parents=True)
    for name in (*_EXPORTED, *(path.relative_to(served.root) for path in served.model_files)):
        if (served.root / name).is_file():
            shutil.move(served.root / name, previous / name)
    for path in trained.model_files:
        if path.is_file():
            shutil.copy(path, served.root / "models" / path.name)


class UncertaintyScoring(ScoringMethod):
    """How undecided the bundle is on each film without a label.

    Args:
        path: The bundle's folder.
    """

    def __init__(self, path: str) -> None:
        super().__init__("Entropy of the calibrated probabilities, 0 (sure) to 1; -1 for what is refused")
        self.path = path

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Write `uncertainty` into the information on each film."""
        films = {datastore.get_image_uri(image): image for image in datastore.get_unlabeled_images()}
        scored = 0
        for prediction in Classifier(self.path).predict(films):
            value = entropy(list(prediction.probabilities.values())) if prediction.ok else -1.0
            datastore.update_image_info(films[prediction.file], {UNCERTAINTY: value})
            scored += prediction.ok
        return {"scored": scored, "refused": len(films) - scored}


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
        """The stock ones, and the film on which the bundle is least decided."""
        doubt = Epistemic(key=UNCERTAINTY, desc="The film on which the model is least decided")
        return {**super().init_strategies(), UNCERTAINTY: doubt}

    def init_scoring_methods(self) -> dict[str, ScoringMethod]:
        """Run by MONAI Label after each training and each film that was asked for."""
        return {f"{name}_{UNCERTAINTY}": UncertaintyScoring(path) for name, path in self.models.items()}
