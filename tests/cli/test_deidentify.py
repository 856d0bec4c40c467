"""The command data deidentify: wrong usage, its key, what it prints."""

import json
import stat
import subprocess
import sys

import pytest
from deidentify_helpers import command, image, key_file, write_export
from dicom_helpers import save

from covid_monai.deidentify.rules import _table

pytestmark = pytest.mark.filterwarnings("ignore")


REPORT = "deidentification.json"


@pytest.fixture
def export(tmp_path):
    return write_export(tmp_path)


def run_main(*arguments):
    """In a process of its own, as a person sees it."""
    code = "from covid_monai.cli.main import main; main()"
    line = [sys.executable, "-c", code, "data", "deidentify", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, timeout=120)


def test_wrong_usage_ends_with_code_2_and_names_no_input(tmp_path, export):
    key, out = key_file(tmp_path), tmp_path / "out"
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.txt").write_text("mine")
    cases = {
        "Input 1": [tmp_path / "Zamenhof Ludovic", out],
        "not empty": [export, full],
        "inside each other": [export, export / "out"],
        "Choose one of: patient-characteristics, device": ["--retain", "everything", export, out],
    }
    for word, arguments in cases.items():
        with pytest.raises((ValueError, FileNotFoundError), match=word) as caught:
            command("--key-file", key, *arguments)
        assert "Zamenhof" not in str(caught.value)
    result = run_main("--key-file", key, *cases["Input 1"])
    assert result.returncode == 2
    assert "Input 1" in result.stderr
    assert "Zamenhof" not in result.stderr
    assert not out.exists()
    assert not (export / "out").exists()


def test_inputs_without_a_file_are_an_error_before_a_key_is_made(run, tmp_path):
    (tmp_path / "export").mkdir()
    key = tmp_path / "new.key"
    code, _, err = run(
        "data", "deidentify", "--key-file", key, "--new-key", tmp_path / "export", tmp_path / "out"
    )
    assert code == 2
    assert "The inputs hold no file" in err
    assert not key.exists()
    assert not (tmp_path / "out").exists()


def test_a_key_is_made_once_for_its_owner_alone_and_never_in_the_output(tmp_path, export):
    key = tmp_path / "new.key"
    with pytest.raises(FileNotFoundError, match="--new-key"):
        command("--key-file", key, export, tmp_path / "out")
    result = command("--key-file", key, "--new-key", export, tmp_path / "out")
    assert result.exit_code == 0
    assert "never beside the data" in result.output
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert key.read_text().strip() not in result.output + (tmp_path / "out" / REPORT).read_text()
    with pytest.raises(FileExistsError):
        command("--key-file", key, "--new-key", export, tmp_path / "other")
    told = command("--key-file", key, export, tmp_path / "out", "--json")  # nothing left to do
    assert json.loads(told.stdout) == json.loads((tmp_path / "out" / REPORT).read_text())
    key.chmod(0o644)
    with pytest.raises(PermissionError, match="chmod 600"):
        command("--key-file", key, export, tmp_path / "out")
    key.chmod(0o600)
    key.write_text("secret")
    with pytest.raises(ValueError, match="hexadecimal") as caught:
        command("--key-file", key, export, tmp_path / "out")
    assert "secret" not in str(caught.value)
    with pytest.raises(ValueError, match="leaves the hospital"):
        command("--key-file", tmp_path / "out" / "k", "--new-key", export, tmp_path / "out")


def test_a_missing_extra_is_named_before_a_key_is_made(run, tmp_path, export, monkeypatch):
    _table.cache_clear()
    for name in [name for name in sys.modules if name.startswith("dicomanonymizer")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "dicomanonymizer", None)
    key = tmp_path / "new.key"
    code, _, err = run("data", "deidentify", "--key-file", key, "--new-key", export, tmp_path / "out")
    assert code == 2
    assert "pip install 'covid-monai[deidentify]'" in err
    assert not key.exists()
    assert not (tmp_path / "out").exists()


def test_the_table_counts_what_was_done_and_says_what_to_look_at(tmp_path, export, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    save(image(BurnedInAnnotation="YES"), export / "HOSP-4711" / "screen")
    (export / "HOSP-4711" / "letter.txt").write_text("a letter")
    result = command("--key-file", key_file(tmp_path), "--allow-burned-in", export, tmp_path / "out")
    assert result.exit_code == 1
    for words in (
        *("6 inputs", "4 copies (2 patients, 4 studies)", "1 DICOMDIR, left out"),
        *("1 refused: not_dicom. ", "1 to review: burned_in_declared", "no guarantee of anonymity"),
        *("elements emptied, replaced or shifted", "Look at every image under review"),
        f"Report: {tmp_path / 'out' / REPORT}",
    ):
        assert words in " ".join(result.output.split()), words
    assert "repeats of another input" not in result.output
