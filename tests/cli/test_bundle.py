"""The commands export and bundle verify: what they print."""

import hashlib
import json

import pytest

from covid_monai.core.vocabulary import RESEARCH_USE


def test_what_a_library_prints_does_not_get_between(run, tmp_path, monkeypatch):
    def talkative(_path):
        print("a library's greeting")
        return {"name": "x", "version": "1"}

    monkeypatch.setattr("covid_monai.export.verify_bundle", talkative)
    code, out, err = run("bundle", "verify", tmp_path, "--json")
    assert code == 0
    assert json.loads(out) == {"name": "x", "version": "1"}
    assert "greeting" in err


RECORD = {
    **{"name": "cxr", "version": "0.2.0", "weights_sha256": "ab" * 32},
    "parity": {"max_abs_difference": {"model.ts": 1e-7, "model.onnx": 2.6e-6}},
    "code": [],
}


def test_verify_says_what_is_complete_and_how_large_the_differences_are(run, tmp_path, monkeypatch):
    monkeypatch.setattr("covid_monai.export.verify_bundle", lambda _: RECORD)
    code, out, _ = run("bundle", "verify", tmp_path)
    assert code == 0
    assert out.splitlines() == [
        "cxr 0.2.0 is complete. Largest probability difference: model.ts 1e-07, model.onnx 3e-06",
        f"Weights SHA-256 {'ab' * 32}",
    ]
    assert json.loads(run("bundle", "verify", tmp_path, "--json")[1]) == RECORD


def test_verify_lists_code_that_others_would_run(run, tmp_path, monkeypatch):
    found = [f"configs/a.yaml: x::{number} is '$f()'" for number in range(25)]
    monkeypatch.setattr("covid_monai.export.verify_bundle", lambda _: {**RECORD, "code": found})
    code, out, _ = run("bundle", "verify", tmp_path)
    assert code == 0
    assert "MONAI's own commands would run this code" in out
    assert [line for line in out.splitlines() if line.startswith("- ")] == [
        f"- {line}" for line in found[:20]
    ]
    assert "and 5 more; --json lists all." in out


def test_verify_ends_with_code_2_for_what_is_no_bundle(run, tmp_path):
    code, out, err = run("bundle", "verify", tmp_path / "no.zip", "--json")
    assert (code, out) == (2, "")
    assert "no.zip" in err


@pytest.fixture
def packed(monkeypatch):
    """What the export was asked for; it writes a small file."""
    asked = {}

    def pack(folder, output, *, images, **options):
        print("a library's greeting")
        asked.update(folder=folder, images=list(images))
        assert options == {"trust_code": False}
        output.mkdir()
        (output / "a.zip").write_bytes(b"content")
        return output / "a.zip"

    monkeypatch.setattr("covid_monai.export.export_bundle", pack)
    return asked


@pytest.mark.parametrize("as_json", [False, True])
def test_export_tells_path_size_and_digest(run, bundle, tmp_path, packed, as_json):
    output, digest = tmp_path / "out", hashlib.sha256(b"content").hexdigest()
    options = ("--bundle", bundle.root, "--images", tmp_path, *(["--json"] if as_json else []))
    code, out, err = run("export", "--output", output, *options)
    assert code == 0
    assert packed == {"folder": bundle.root, "images": [tmp_path]}
    if as_json:
        assert json.loads(out) == {
            **{"archive": str(output / "a.zip"), "bytes": 7, "sha256": digest},
            "notice": RESEARCH_USE,
        }
        assert "greeting" in err
    else:
        assert f"{output / 'a.zip'} (0.0 MiB)" in out
        assert f"SHA-256 {digest}" in out
    assert f"covid-monai bundle verify {output / 'a.zip'}" in err
    assert RESEARCH_USE in err
