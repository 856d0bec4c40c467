"""Training on one CUDA device: images per second and AUROC in fp32, fp16 and bf16, on phantoms.

    python benchmarks/cuda_training.py --output cuda_training.json

Needs a GPU; everything else is made here. The rate is that of the last epoch, so without the first one's
decoding and warm-up. It is the measured rate of the whole loop, not of the network alone.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path

import torch
from monai.bundle import ConfigWorkflow
from rich.console import Console
from rich.table import Table

from covid_monai.datasets.phantom_files import write_phantoms

ROOT = Path(__file__).parents[1]
BUNDLE = ROOT / "bundles" / "covid_cxr_classification"


def measure(folder: Path, datalist: Path, *, precision: str, epochs: int, batch_size: int) -> dict:
    """Train once and read the last epoch's figures from the engines."""
    workflow = ConfigWorkflow(
        config_file=[str(BUNDLE / "configs" / "train.yaml"), str(ROOT / "configs" / "hardware" / "gpu.yaml")],
        logging_file=False,
        run_id="training",
        bundle_root=str(BUNDLE),
        datalist=str(datalist),
        output_dir=str(folder / precision),
        precision=precision,
        max_epochs=epochs,
        batch_size=batch_size,
    )
    workflow.initialize()
    workflow.run()
    trainer = workflow.parser.get_parsed_content("train::trainer")
    evaluator = workflow.parser.get_parsed_content("validate::evaluator")
    return {
        "precision": precision,
        "images_per_second": trainer.state.metrics["images_per_second"],
        "data_wait_fraction": trainer.state.metrics["data_wait_fraction"],
        "val_auroc": evaluator.state.best_metric,
        "peak_gib": torch.cuda.max_memory_allocated() / 2**30,
    }


def main() -> None:
    """Measure each precision and show one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("cuda_training.json"))
    parser.add_argument("--patients", type=int, default=900)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--batch-size", type=int, default=128)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("no CUDA device here: run this on a machine with a GPU")
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder / 'mlruns.db'}"
        datalist = write_phantoms(folder / "phantoms", patients=options.patients, size=256, ct=False)
        for precision in ("fp32", "fp16", "bf16"):
            torch.cuda.reset_peak_memory_stats()
            rows.append(
                measure(
                    folder,
                    datalist,
                    precision=precision,
                    epochs=options.epochs,
                    batch_size=options.batch_size,
                )
            )
    report = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        **vars(options),
        "rows": rows,
    }
    options.output.write_text(json.dumps(report, indent=2, default=str))
    table = Table(*rows[0], title=f"DenseNet121 on {report['device']}")
    for row in rows:
        table.add_row(*(value if isinstance(value, str) else f"{value:.3g}" for value in row.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
