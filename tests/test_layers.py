"""Lower folders never import higher ones, and the light ones stay light."""

import ast
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PACKAGE = Path(__file__).parents[1] / "covid_monai"
# Lowest first; docs/architecture.md has the reasons.
LAYERS = (
    ("core",),
    ("dicom",),
    ("readers",),
    ("transforms",),
    ("datasets",),
    ("phantoms",),
    ("deidentify", "evaluation"),
    ("networks",),
    ("bundle",),
    ("lungs",),
    ("gate",),
    ("training",),
    ("inference",),
    ("adaptation", "experiments", "export", "results"),
    ("pacs",),
    ("worker",),
    ("api",),
    ("app",),
    ("cli",),
    ("__main__",),
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def _part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imported_parts(path: Path) -> set[str]:
    parts = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        parts |= {name.split(".")[1] for name in names if name.startswith("covid_monai.")}
    return parts


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_imports_only_from_the_same_layer_or_below(path):
    part = _part(path)
    if part == "__init__":
        return
    above = {name for name in _imported_parts(path) if RANK[name] > RANK[part]}
    assert not above, f"{path.name} ({part}) imports from above: {above}"


def _module(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.slow
def test_no_module_imports_itself_through_others():
    paths = {_module(path): path for path in PACKAGE.rglob("*.py")}
    imports: dict[str, set[str]] = {}
    for name, path in paths.items():
        found = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                found |= (inner & set(paths)) or {node.module}
            elif isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
        imports[name] = (found & set(paths)) - {name}
    del imports["covid_monai"]  # it imports `Classifier` when a program asks for it, for type checkers before
    try:
        list(TopologicalSorter(imports).static_order())
    except CycleError as error:
        pytest.fail(f"These modules import each other: {' -> '.join(error.args[1])}")


@pytest.mark.slow
def test_only_tracking_imports_mlflow():
    using = {
        path.name
        for path in PACKAGE.rglob("*.py")
        if any(
            isinstance(node, ast.Import | ast.ImportFrom) and "mlflow" in ast.unparse(node)
            for node in ast.walk(ast.parse(path.read_text()))
            if not (isinstance(node, ast.ImportFrom) and node.module == "monai.handlers")
        )
    }
    assert using == {"tracking.py"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "module",
    [
        *("cli.main", "core.vocabulary", "readers", "datasets.datalist"),
        *("evaluation.decisions.calibration", "evaluation.metrics.bootstrapped_metrics"),
    ],
)
def test_light_modules_import_neither_torch_nor_mlflow(module):
    heavy = "[name for name in ('torch', 'monai', 'mlflow') if name in sys.modules]"
    code = f"import sys, covid_monai.{module}; print({heavy})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.slow
def test_a_prediction_imports_nothing_for_training_and_plots(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (96, 96), np.uint8)
    Image.fromarray(image).save(tmp_path / "image.png")
    heavy = "('mlflow', 'ignite', 'pandas', 'matplotlib', 'sklearn', 'statsmodels', 'SimpleITK')"
    code = f"""
import atexit, sys
atexit.register(lambda: print([name for name in {heavy} if name in sys.modules]))
sys.argv = ["covid-monai", "predict", "--json", {str(tmp_path / "image.png")!r}]
from covid_monai.cli.main import main
main()
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert "1 file:" in result.stderr
    assert result.stdout.splitlines()[-1] == "[]"


def test_child_processes_do_not_run_modules_of_the_working_directory():
    """`python -m` and `-c` search it first, unless they are told not to: it may hold a json.py."""
    started = re.compile(r"sys\.executable,\s*(\"[^\"]*\")")
    first = {path.name: set(started.findall(path.read_text())) for path in PACKAGE.rglob("*.py")}
    found = {name: options for name, options in first.items() if options}
    assert set(found) == {"archive.py", "decoder_process.py", "network_formats.py"}
    assert all(options == {'"-P"'} for options in found.values()), found
