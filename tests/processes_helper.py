"""A training that notes what it does, for `training/test_distributed.py`: losses, images seen, metrics.

python processes_helper.py NOTES.json CONFIG_FILES OVERRIDES     (alone, or on each rank of torchrun)
"""

import hashlib
import json
import os
import sys
from pathlib import Path

import torch
from ignite.engine import Events
from monai.bundle import ConfigWorkflow


def main() -> None:
    notes_path, configs, overrides = Path(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3])
    rank, processes = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    workflow = ConfigWorkflow(config_file=configs, logging_file=False, run_id="training", **overrides)
    workflow.initialize()
    trainer = workflow.parser.get_parsed_content("train::trainer")
    evaluator = workflow.parser.get_parsed_content("validate::evaluator")
    notes: dict[str, list] = {"loss": [], "images": [], "validation": []}

    def note_step(engine) -> None:
        loss = engine.state.output["loss"].detach().double()
        if processes > 1:
            torch.distributed.all_reduce(loss)
        notes["loss"].append(float(loss) / processes)
        notes["images"].append([digest(image) for image in engine.state.batch["image"]])

    trainer.add_event_handler(Events.ITERATION_COMPLETED, note_step)
    evaluator.add_event_handler(
        Events.COMPLETED, lambda engine: notes["validation"].append(dict(engine.state.metrics))
    )
    workflow.run()
    workflow.finalize()
    notes_path.with_suffix(f".{rank}.json").write_text(json.dumps(notes))


def digest(image: torch.Tensor) -> str:
    return hashlib.sha256(image.numpy().tobytes()).hexdigest()


if __name__ == "__main__":
    main()
