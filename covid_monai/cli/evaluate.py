"""`covid-monai evaluate`: the bundle's evaluate.yaml on a datalist, and its summary."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from covid_monai.bundle.safe_config import read_config
from covid_monai.bundle.shipped import LUNG_BUNDLE, SHIPPED_BUNDLE, find_bundle, shipped_config
from covid_monai.cli.options import (
    BundleOption,
    DeviceOption,
    JsonOption,
    TrustCodeOption,
    option,
    print_json,
    reserve_stdout,
)


def evaluate(
    datalist: Annotated[Path, option("evaluate.datalist")],
    output: Annotated[Path, option("evaluate.output")],
    bundle: BundleOption = None,
    dataset_dir: Annotated[Path | None, option("evaluate.dataset_dir")] = None,
    device: DeviceOption = None,
    log_images: Annotated[bool, option("evaluate.log_images")] = False,
    trust_code: TrustCodeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Score a bundle on the test split of a datalist.

    Writes metrics.json, predictions.csv and report.html; for lung masks metrics.json and dice.csv. The
    thresholds are those that were chosen on the validation split; nothing is tuned on the test split. This
    package's own evaluate.yaml runs; the bundle's runs only with --trust-code.
    """
    folder = find_bundle(bundle).absolute()
    own = folder / "configs" / "evaluate.yaml"
    has_masks = str(read_config(folder / "configs" / "metadata.json").get("name")).endswith("_segmentation")
    config = own if trust_code else shipped_config(own.name, LUNG_BUNDLE if has_masks else SHIPPED_BUNDLE)
    _check_paths((config, datalist), dataset_dir)
    paths = {"bundle_root": folder, "datalist": datalist.absolute(), "output_dir": output.absolute()}
    if dataset_dir is not None:
        paths["dataset_dir"] = dataset_dir.absolute()
    with reserve_stdout(as_json):
        from covid_monai.bundle.composed_config import run_workflow
        from covid_monai.inference.classifier import choose_device

        changes: dict[str, Any] = {"bundle::trust_code": trust_code}
        if not trust_code:  # its check of names would read the evaluate.yaml of the bundle
            changes["initialize"] = []
        data = {**paths, "device": choose_device(device)}
        run_workflow([config], workflow_type="infer", data=data, changes=changes)
    metrics = json.loads((output / "metrics.json").read_text(encoding="utf-8"))
    if as_json:
        print_json(metrics)
    else:
        _print_summary(metrics, output)
    if not has_masks:
        _log(metrics, output, bundle=folder, with_names=log_images)


def _check_paths(files: Sequence[Path], folder: Path | None) -> None:
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(f"{file} does not exist.")
    if folder is not None and not folder.is_dir():
        raise FileNotFoundError(f"--dataset-dir {folder} is not a folder.")


def _log(metrics: dict[str, Any], output: Path, *, bundle: Path, with_names: bool) -> None:
    """Put the report into the MLflow run of the training, where there is one."""
    from covid_monai.evaluation.metrics.classification_metrics import HEADLINE_METRICS
    from covid_monai.evaluation.metrics.prediction_table import read_predictions
    from covid_monai.evaluation.report.report_without_names import remove_names

    try:
        from covid_monai.training.tracking import log_evaluation, read_run_id
    except ImportError:  # mlflow comes with the extra `train`
        return
    if read_run_id(bundle) is None:
        return
    if with_names:
        page = (output / "report.html").read_text(encoding="utf-8")
    else:
        metrics, page = remove_names(metrics, read_predictions(output / "predictions.csv"))
    files = {"report.html": page, "metrics.json": json.dumps(metrics, indent=2, ensure_ascii=False)}
    test = metrics["test"]
    values = {name: test[name]["value"] for name in HEADLINE_METRICS if test[name]["value"] is not None}
    if log_evaluation(files, bundle_root=bundle, metrics=values):
        typer.echo("MLflow: report and metrics are in the run of the training", err=True)


def _print_summary(metrics: Mapping[str, Any], output: Path) -> None:
    if "dice_by_patient" in metrics:
        typer.echo(f"{metrics['sentence']}\nTable: {output / 'dice.csv'}")
        return
    from rich.console import Console

    from covid_monai.evaluation.report.metric_wording import metrics_table

    console = Console()
    console.print(metrics_table(metrics))
    verdict = metrics["verdict"]
    shortcuts = [check["sentence"] for check in verdict["shortcuts"]]
    for sentence in (*shortcuts, verdict["result"], *verdict["limits"]):
        console.print(f"- {sentence}", markup=False, highlight=False)
    # typer.echo does not break the path over lines.
    typer.echo(f"Report: {output / 'report.html'}")
