"""`covid-monai score-archive`: `predict` on a cluster, for archives that are too large for one machine."""

from pathlib import Path
from typing import Annotated

import typer

from covid_monai.bundle.shipped import find_bundle
from covid_monai.cli import outcome_counts
from covid_monai.cli.options import (
    BatchSizeOption,
    BundleOption,
    DeviceOption,
    ImagePaths,
    JsonOption,
    TrustCodeOption,
    find_images,
    option,
    print_json,
    reserve_stdout,
)
from covid_monai.core.vocabulary import RESEARCH_USE, Status


def score_archive(
    paths: ImagePaths,
    output: Annotated[Path, option("score_archive.output")],
    bundle: BundleOption = None,
    address: Annotated[str | None, option("score_archive.address")] = None,
    workers: Annotated[int, option("score_archive.workers", min=1)] = 2,
    device: DeviceOption = None,
    batch_size: BatchSizeOption = 16,
    trust_code: TrustCodeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Classify an archive on a Ray cluster: the records of predict, in the order of completion.

    Files and bundle must have the same paths on all machines. This command needs the extra cluster.

    Exit code: 0 if all files are ok, 1 if any was refused or failed, 2 for wrong usage.
    """
    from covid_monai.inference.ray_cluster import classify_on_cluster

    with reserve_stdout(as_json):
        outcomes = classify_on_cluster(
            [path.absolute() for path in find_images(paths)],
            output,
            bundle_dir=find_bundle(bundle),
            address=address,
            workers=workers,
            device=device,
            batch_size=batch_size,
            trust_code=trust_code,
        )
    if as_json:
        print_json({"output": str(output), "files": outcomes, "notice": RESEARCH_USE})
    typer.echo(f"{outcome_counts(outcomes)} Written to {output}.", err=True)
    typer.echo(RESEARCH_USE, err=True)
    if outcomes.total() > outcomes[str(Status.OK)]:
        raise typer.Exit(1)
