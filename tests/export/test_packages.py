"""The bill of materials: valid by CycloneDX's own schema, whole, and the same every time."""

import json
import shutil
from importlib.metadata import version
from pathlib import Path

import pytest
from cyclonedx.model.bom import Bom
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from covid_monai.bundle import Bundle
from covid_monai.export.packages import SBOM, find_required_packages, list_pins, write_sbom

SHIPPED = Path(__file__).parents[2] / "bundles" / "covid_cxr_classification"


@pytest.fixture
def bundle(tmp_path):
    shutil.copytree(SHIPPED / "models", tmp_path / "models")
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "covid_monai-0.whl").write_bytes(b"wheel")
    return tmp_path


def test_the_bill_of_materials_is_valid_and_reads_as_one(bundle):
    write_sbom(bundle, "covid_cxr_classification", "0.2.0")
    text = (bundle / SBOM).read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bom = Bom.from_json(json.loads(text))
    assert bom.metadata.component.name == "covid_cxr_classification"
    bom.validate()  # each reference of the graph names a component


def test_it_names_the_weights_by_digest_and_every_package_by_version_and_licence(bundle):
    write_sbom(bundle, "covid_cxr_classification", "0.2.0")
    content = json.loads((bundle / SBOM).read_text())
    found = {item["name"]: item for item in content["components"]}
    weights = found["models/model.pt"]["hashes"][0]["content"]
    assert weights == Bundle(SHIPPED).identity["weights_sha256"]
    assert "wheels/covid_monai-0.whl" in found
    for pin in list_pins(find_required_packages()):
        name, _, number = pin.partition("==")
        assert PackageURL.from_string(found[name]["purl"]).version == found[name]["version"] == number
        assert number == version(name).partition("+")[0]
    assert found["torch"]["licenses"]
    assert found["numpy"]["licenses"]
    graph = {item["ref"]: item["dependsOn"] for item in content["dependencies"]}
    assert found["torch"]["purl"] in graph["covid-monai"]
    assert found["jinja2"]["purl"] in graph["covid-monai"]
    assert {item["bom-ref"] for item in found.values()} <= {*graph, *graph["covid_cxr_classification"]}


@pytest.mark.slow
def test_it_is_the_same_every_time_and_another_one_for_other_weights(bundle):
    texts = []
    for changed in (False, False, True):
        if changed:
            (bundle / "models" / "model.onnx").write_bytes(b"another network")
        write_sbom(bundle, "covid_cxr_classification", "0.2.0")
        texts.append((bundle / SBOM).read_text())
    assert texts[0] == texts[1]
    assert "timestamp" not in texts[0]
    assert json.loads(texts[0])["serialNumber"] != json.loads(texts[2])["serialNumber"]
