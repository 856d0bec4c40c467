"""MONAI Label app: the stock `monaibundle` app with training on classes and a strategy for uncertain images.

The server answers only to its own names and to no page of another origin, and no value of a request becomes
an expression or a path (docs/monai-label.md says what MONAI Label still lacks).

An answer says beside the scores whether the image is abnormal, and the cause, as `covid-monai predict` does.

A label file in JSON sets a class, `{"label": "covid"}`. It is saved for an image like any other label
(`PUT /datastore/label?image=ID&tag=final`). The other strategies are those of the stock app.
Research software, not a medical device: not for diagnosis or treatment.
"""

import json
import math
import shutil
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import parse_qsl

import numpy as np
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.exception import MONAILabelError, MONAILabelException
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.interfaces.tasks.train import TrainTask
from monailabel.tasks.activelearning.epistemic import Epistemic
from monailabel.tasks.train.bundle import BundleTrainTask
from monailabel.utils.others.generic import device_list, device_map
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from covid_monai.bundle import Bundle
from covid_monai.bundle.bundle_zip import CHECKSUMS
from covid_monai.bundle.composed_config import run_workflow
from covid_monai.core.atomic_files import make_private_folder, replace_atomically
from covid_monai.core.request_origin import host_name, is_foreign_page, is_loopback_name, joined_headers
from covid_monai.core.tables import write_table
from covid_monai.core.vocabulary import RESEARCH_USE
from covid_monai.datasets.prepare import prepare
from covid_monai.export.archive import RECORD
from covid_monai.export.network_formats import ONNX, TORCHSCRIPT
from covid_monai.inference.classifier import Classifier, choose_device
from covid_monai.inference.decision import make_prediction
from covid_monai.inference.wording import finding

STOCK = Path(sys.prefix) / "monailabel" / "sample-apps" / "monaibundle" / "main.py"
UNCERTAINTY = "uncertainty"
_CLASS_NUMBER = "class_{}"
# Files of an export that describe the old weights.
_EXPORTED = (CHECKSUMS, RECORD, f"models/{TORCHSCRIPT}", f"models/{ONNX}")


def _stock_app() -> type:
    spec = spec_from_file_location("stock_monaibundle", STOCK)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.MyApp


class ClassificationTrainTask(BundleTrainTask):
    """The bundle's own training (train.yaml, tracked in MLflow), on the classes set in MONAI Label.

    Args:
        path: Folder of the bundle.
        conf: Settings of the server.
        runs: Folder for the runs.
    """

    def __init__(self, path: str, conf: dict[str, str], *, runs: Path) -> None:
        super().__init__(path, conf)
        self.runs = runs

    def config(self) -> dict[str, Any]:
        """Return the settings that a client may change in a request, with their defaults."""
        return {
            "max_epochs": 10,
            "val_split": 0.2,
            "pretrained": True,
            "update_model": True,
            "device": device_list(),
        }

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Train, and serve the new weights unless `update_model` is false."""
        bundle = Bundle(self.bundle_path)
        run = self.runs / datetime.now().astimezone().strftime("monailabel-%Y%m%d-%H%M%S")
        make_private_folder(run)
        write_labels(run / "labels.csv", datastore.datalist(), bundle.class_names)
        options = {**self.config(), **request}
        data = prepare(
            [("csv", run / "labels.csv")],
            output=run / "datalist.json",
            classes={_CLASS_NUMBER.format(i): name for i, name in enumerate(bundle.class_names)},
            validation_fraction=float(options["val_split"]),
            test_fraction=0.0,
        )
        settings = {
            "bundle_root": bundle.root,
            "device": choose_device(request.get("device")),
            "datalist": run / "datalist.json",
            "output_dir": run / run.name,
            "network_name": bundle.network_name,
            "image_size": bundle.image_size,
            "max_epochs": int(options["max_epochs"]),
            "pretrained": bundle.checkpoint_path if options["pretrained"] else None,
            "freeze_epochs": 0,
        }
        run_workflow([bundle.root / "configs" / "train.yaml"], workflow_type="train", data=settings)
        if options["update_model"]:
            serve_trained_weights(Bundle(run / run.name), bundle, previous=run / "replaced")
        images = {split: len(items) for split, items in data.splits.items()}
        return {"run": str(run), "images": images, "updated": bool(options["update_model"])}


def write_labels(path: Path, datalist: Sequence[dict[str, str]], class_names: Sequence[str]) -> None:
    """Write `image,label` for `covid-monai data prepare csv`.

    Classes are written as numbers, because the command would read the name `viral_pneumonia` as `pneumonia`.

    Raises:
        ValueError: No image has a label, or a label file is not `{"label": NAME}` with one of the classes.
    """
    rows = []
    for item in datalist:
        try:
            label = json.loads(Path(item["label"]).read_text(encoding="utf-8"))["label"]
            rows.append((item["image"], _CLASS_NUMBER.format(class_names.index(label))))
        except (ValueError, KeyError, TypeError) as error:
            known = ", ".join(class_names)
            raise ValueError(
                f'The label file {item["label"]} is not {{"label": NAME}}. Choose NAME from: {known}.'
            ) from error
    if not rows:
        raise ValueError("No image has a label. Save some labels with the tag `final` first.")
    write_table(path, ("image", "label"), rows)


def serve_trained_weights(trained: Bundle, served: Bundle, *, previous: Path) -> None:
    """Replace weights, calibration, operating point and gate of the served bundle by those of a run.

    The old files are kept in `previous`. Each file is replaced in one step, because the server continues to
    answer. TorchScript, ONNX and digests of an export are deleted.
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
    """Score how uncertain the bundle is about each image without a label.

    Args:
        path: Folder of the bundle.
    """

    def __init__(self, path: str) -> None:
        super().__init__("Entropy of the calibrated probabilities, 0 (certain) to 1; -1 for a refused image")
        self.path = path

    def __call__(self, _: dict[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Write `uncertainty` into the information of each image."""
        images = {datastore.get_image_uri(image): image for image in datastore.get_unlabeled_images()}
        scored = 0
        for prediction in Classifier(self.path).predict(list(images)):
            value = entropy(list(prediction.probabilities.values())) if prediction.ok else -1.0
            datastore.update_image_info(images[prediction.file], {UNCERTAINTY: value})
            scored += prediction.ok
        return {"scored": scored, "refused": len(images) - scored}


def _refuse(message: str) -> NoReturn:
    raise MONAILabelException(MONAILabelError.INVALID_INPUT, message)


def entropy(probabilities: list[float]) -> float:
    """Return the Shannon entropy divided by its maximum, in [0, 1]."""
    return -sum(p * math.log(p) for p in probabilities if p > 0) / math.log(len(probabilities))


def both_levels(bundle: Bundle, scores: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return `finding` (words), `abnormal` and `cause` of a `Prediction` for MONAI Label's scores.

    The image has passed no gate: its header and its pixels can be of anything.
    """
    score = {row["label"]: row["score"] for row in scores}
    probabilities = np.array([score[name] for name in bundle.class_names])
    prediction = make_prediction("", probabilities, bundle, model=bundle.identity)
    levels = {"abnormal": prediction.abnormal, "cause": prediction.cause}
    return {"finding": finding(prediction), **levels, "notice": RESEARCH_USE}


class RequestGuard:
    """ASGI middleware that refuses what no honest client sends, before MONAI Label sees it.

    These are a Host that is not a name of this server (DNS rebinding), pages of another origin, and ids that
    MONAI Label would join to a path. MONAI Label itself answers any Host and any origin.

    Args:
        app: MONAI Label's own server.
        names: Host names that are allowed beside those of loopback.
    """

    def __init__(self, app: ASGIApp, *, names: Sequence[str]) -> None:
        self._app, self._names = app, frozenset(name.lower() for name in names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve or refuse one request."""
        refusal = self._refusal(scope) if scope["type"] in ("http", "websocket") else None
        if refusal is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send(
                {"type": "websocket.close", "code": 1008}
            )  # "policy violation", RFC 6455 section 7.4.1
        else:
            await PlainTextResponse(f"{refusal}\n", status_code=403)(scope, receive, send)

    def _refusal(self, scope: Scope) -> str | None:
        headers = joined_headers(scope["headers"])
        name = host_name(headers.get("host", ""))
        if not is_loopback_name(name) and name not in self._names:
            return "This server does not have the name in Host. Use http://127.0.0.1, or set allowed_hosts."
        if is_foreign_page(headers):
            return "This server answers no page of another origin. Open its address yourself."
        parts = scope["path"].split("/")
        is_proxy = scope["path"].startswith(
            "/proxy/"
        )  # what follows is sent to the archive, with our password
        if any(part in (".", "..") or set(part) & set("\\\0%" if is_proxy else "\\\0") for part in parts):
            return "An id in the address is a path."
        if is_proxy or scope["path"].startswith("/ohif/"):  # their queries hold values of another kind
            return None
        query = parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
        if any(value in (".", "..") or set(value) & set("/\\\0") for _, value in query):
            return "An id in the address is a path."
        if dict(query).get("uncompress", "false").lower() not in ("", "0", "false", "no", "off", "f", "n"):
            return "Archives are not unpacked here. Send the images."
        return None


class MyApp(_stock_app(), MONAILabelApp):
    """App that MONAI Label starts; MONAI Label requires `MONAILabelApp` itself among the bases."""

    def server_mode(self, mode: bool) -> None:
        """Put the guard before the server, which is complete by now and calls this when it starts."""
        from monailabel.app import app as server

        super().server_mode(mode)
        names = [name.strip() for name in self.conf.get("allowed_hosts", "").split(",") if name.strip()]
        if server.middleware_stack is None:
            raise RuntimeError("MONAI Label's server cannot be guarded. Use MONAI Label 0.8.5.")
        server.middleware_stack = RequestGuard(server.middleware_stack, names=names)

    def init_datastore(self) -> Datastore:
        """Return MONAI Label's datastore, which adds no image whose id is a folder.

        Without an id in the address, MONAI Label takes the name of the uploaded file, which may be `..`.
        """
        datastore = super().init_datastore()
        add_image = datastore.add_image

        def add_checked(image_id: str, *values: Any) -> str:
            if image_id in (".", ".."):
                _refuse("The name of the file is that of a folder. Send the image under another name.")
            return add_image(image_id, *values)

        datastore.add_image = add_checked
        return datastore

    def infer(self, request: dict[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """Run inference for a request whose values are known ones, and answer on both levels."""
        self._check_request(request)
        result = super().infer(request, datastore)
        path = dict(self._classifiers()).get(request["model"])
        if path is not None:
            result["params"] |= both_levels(Bundle(path), result["params"]["prediction"])
        return result

    def bundle_path(self, model: str) -> str:
        """Return the folder of a model, else of any: a request must not bring its own, which is imported."""
        return self.models.get(model) or next(iter(self.models.values()))

    def _check_request(self, request: dict[str, Any]) -> None:
        """Check what MONAI Label would evaluate as an expression, load as weights, or read as a file."""
        devices = {"", "cpu", "cuda", *device_list(), *device_map(), *device_map().values()}
        names = {
            Path(path).name for model in self.models.values() for path in Path(model, "models").glob("*.pt")
        }
        for key, allowed in (("device", devices), ("model_filename", names)):
            value = request.get(key) or ""
            for one in value if isinstance(value, list) else [value]:
                if one not in {"", *allowed}:
                    _refuse(f"Unknown {key}. Choose one of: {', '.join(sorted(allowed - {''}))}.")
        folders = (tempfile.gettempdir(), self.studies, getattr(self.sessions(), "store_path", self.studies))
        for key in ("image", "label"):
            path = Path(str(request.get(key) or "")).resolve()
            if path.exists() and not any(path.is_relative_to(Path(folder).resolve()) for folder in folders):
                _refuse(f"The {key} is not in the folder of the studies. Give the id of an image.")

    def init_trainers(self) -> dict[str, TrainTask]:
        """Return one trainer for each bundle that classifies."""
        runs = Path(self.app_dir) / "runs"
        return {
            name: ClassificationTrainTask(path, self.conf, runs=runs) for name, path in self._classifiers()
        }

    def init_strategies(self) -> dict[str, Strategy]:
        """Return the stock strategies, and one for the image that the bundle is most uncertain about."""
        uncertainty = Epistemic(key=UNCERTAINTY, desc="The image that the model is most uncertain about")
        return {**super().init_strategies(), UNCERTAINTY: uncertainty}

    def init_scoring_methods(self) -> dict[str, ScoringMethod]:
        """Return one scoring for each classifying bundle, run after each training and active learning."""
        return {f"{name}_{UNCERTAINTY}": UncertaintyScoring(path) for name, path in self._classifiers()}

    def _classifiers(self) -> list[tuple[str, str]]:
        """Return name and folder of the bundles that classify; the task is in the name."""
        return [(name, path) for name, path in self.models.items() if "segmentation" not in name]
