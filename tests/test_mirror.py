"""The tests mirror the package: the test of `covid_monai/a/b.py` is `tests/a/test_b.py`."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE, TESTS = ROOT / "covid_monai", ROOT / "tests"
LINES = 60  # a shorter module may be tested through its callers
# Tests of something larger than a module; those of the repository (tests/*.py, tests/docs) need no entry.
SCENARIOS = {
    "app/test_hostile_page.py": "pages of other origins, keys and a proxy before the page, in a browser",
    "app/test_event_loop.py": "what must not run in the event loop of REST and the page",
    "app/test_memory.py": "memory that REST and the page share",
    "cli/test_audit.py": "the command data audit, from images to its page",
    "cli/test_shell.py": "what all commands share: help, completion, suggestions, --json",
    "deidentify/test_planted_text.py": "text in every place of a file where bytes can hide",
    "cli/test_strange_bundles.py": "every command on bundles that hold code",
    "evaluation/report/test_report_browser.py": "the report in a browser",
    "export/test_bundle_in_monai.py": "the exported bundle in MONAI's own tools",
    "results/test_fuzz.py": "damaged and strange headers through readers, results and report",
    "training/test_mlflow_ui.py": "MLflow's own page on a finished run",
    "training/segmentation/test_training.py": "a whole training of lung masks, resumed, and its evaluation",
    "training/test_training.py": "whole trainings: train.yaml, resume, kill, divergence",
    "worker/test_alerts.py": "alert rules and dashboard of deploy/worker",
    "worker/test_deployment.py": "unit, compose file and examples of deploy/worker",
    "worker/test_explorer.py": "the button and the page of deploy/worker/explorer.py",
    "worker/test_hostile.py": "the worker on objects that are made to harm it",
    "worker/test_orthanc.py": "the worker beside a real archive",
}


def _modules() -> dict[str, int]:
    found = (path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
    return {path.relative_to(PACKAGE).as_posix(): len(path.read_text().splitlines()) for path in found}


def _tests() -> set[str]:
    return {path.relative_to(TESTS).as_posix() for path in TESTS.rglob("test_*.py")}


def _test_of(module: str) -> str:
    folder, _, name = module.rpartition("/")
    return f"{folder}/test_{name}"


def test_every_test_has_the_name_of_a_module_or_folder_or_is_known_as_a_scenario():
    named = {_test_of(module) for module in _modules()}
    folders = (path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*") if path.is_dir())
    named |= {_test_of(f"{folder}.py") for folder in folders}
    inner = {test for test in _tests() if "/" in test and not test.startswith("docs/")}
    unknown = sorted(inner - named - set(SCENARIOS))
    assert not unknown, "These tests have the name of no module:\n" + "\n".join(unknown)


def test_every_module_of_some_length_has_a_test_of_its_name():
    missing = [
        f"covid_monai/{module} ({lines} lines): write tests/{_test_of(module)}"
        for module, lines in sorted(_modules().items())
        if lines > LINES and _test_of(module) not in _tests()
    ]
    assert not missing, "These modules have no test of their name:\n" + "\n".join(missing)


def test_the_scenarios_are_all_there():
    assert set(SCENARIOS) <= _tests()
