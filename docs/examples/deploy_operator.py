"""A MONAI Deploy application with an exported bundle: one JSON record per radiograph.

    pip install monai-deploy-app-sdk==4.0.0    # with Holoscan; on Linux, needs no GPU
    python deploy_operator.py BUNDLE_FOLDER INPUT_FOLDER OUTPUT_FOLDER

Use `CovidCxrOperator` in your own application: there the files come from a DICOM loader, and a writer of
DICOM results gets the records.
Research software, not a medical device: not for diagnosis or treatment.
"""

import json
import sys
from pathlib import Path
from typing import Any

from monai.deploy.conditions import CountCondition
from monai.deploy.core import Application, Fragment, Operator, OperatorSpec

from covid_monai.inference.classifier import Classifier
from covid_monai.readers.image_files import find_image_files


class FilesOperator(Operator):
    """Operator that emits the radiographs of a folder once."""

    def __init__(self, fragment: Fragment, *conditions: Any, folder: Path, **options: Any) -> None:
        self.folder = folder
        super().__init__(fragment, *conditions, **options)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare the port."""
        spec.output("files")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Emit the files."""
        op_output.emit(find_image_files([self.folder]).files, "files")


class CovidCxrOperator(Operator):
    """Operator that classifies files with a bundle; a refused file has a record with the reason."""

    def __init__(self, fragment: Fragment, *conditions: Any, bundle: Path, **options: Any) -> None:
        self.bundle = bundle
        super().__init__(fragment, *conditions, **options)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare the ports."""
        spec.input("files")
        spec.output("records")

    def start(self) -> None:
        """Load the network once."""
        self.classifier = Classifier(self.bundle)

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Emit the records of `covid-monai predict --json` for the received paths."""
        records = [record.to_json() for record in self.classifier.predict(op_input.receive("files"))]
        op_output.emit(records, "records")


class WriteOperator(Operator):
    """Operator that writes the records as JSON Lines."""

    def __init__(self, fragment: Fragment, *conditions: Any, path: Path, **options: Any) -> None:
        self.path = path
        super().__init__(fragment, *conditions, **options)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare the port."""
        spec.input("records")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Write the file."""
        lines = [json.dumps(record) for record in op_input.receive("records")]
        self.path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


class CovidCxrApplication(Application):
    """Application that classifies the images of one folder and writes the records to another."""

    def __init__(self, bundle: Path, source: Path, target: Path) -> None:
        self.places = bundle, source, target
        super().__init__([])

    def compose(self) -> None:
        """Connect the operators."""
        bundle, source, target = self.places
        files = FilesOperator(self, CountCondition(self, 1), folder=source, name="files")
        classify = CovidCxrOperator(self, bundle=bundle, name="classify")
        write = WriteOperator(self, path=target / "results.jsonl", name="write")
        self.add_flow(files, classify, {("files", "files")})
        self.add_flow(classify, write, {("records", "records")})


if __name__ == "__main__":
    CovidCxrApplication(*map(Path, sys.argv[1:4])).run()
