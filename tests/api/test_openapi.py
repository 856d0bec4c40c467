"""The OpenAPI description and the page that shows it."""

import pytest
import requests
from api_helpers import SETTINGS

from covid_monai.api.application import create_api
from covid_monai.api.openapi import problems
from covid_monai.api.problems import KINDS
from covid_monai.api.request_body import ACCEPTED, DICOM_JSON, MULTIPART
from covid_monai.api.uploads import MIB, MemoryBudget
from covid_monai.core.vocabulary import RESEARCH_USE


def test_the_page_of_the_description_asks_no_other_server(service):
    page = requests.get(f"{service}/docs", timeout=10).text
    description = requests.get(f"{service}/openapi.json", timeout=10).json()
    assert "http://" not in page
    assert "https://" not in page
    assert '"validatorUrl": null' in page
    for file in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"):
        assert f"/docs/files/{file}" in page
        assert requests.get(f"{service}/docs/files/{file}", timeout=10).ok
    assert RESEARCH_USE in description["info"]["description"]


@pytest.fixture(scope="module")
def description(engine):
    return create_api(engine, SETTINGS, MemoryBudget(MIB)).openapi()


def references(node):
    """Every $ref of a description."""
    if isinstance(node, dict):
        yield from [node["$ref"]] if "$ref" in node else []
        node = list(node.values())
    if isinstance(node, list):
        for each in node:
            yield from references(each)


def test_every_reference_of_the_description_leads_somewhere(description):
    found = set(references(description))
    names = {reference.removeprefix("#/components/schemas/") for reference in found}
    assert names <= set(description["components"]["schemas"])
    assert {"Problem", "Reference", "DicomJsonInstance", "FieldProblem", "RetrieveURL"} <= names


def test_predict_is_described_with_every_type_of_body_that_is_read(description):
    for path, limit in (("/v1/predict", None), ("/v1/report", 1)):
        body = description["paths"][path]["post"]["requestBody"]
        assert body["required"] is True
        expected = set(ACCEPTED) - ({DICOM_JSON} if limit else set())
        assert set(body["content"]) == expected
        files = body["content"][MULTIPART]["schema"]["properties"]["files"]
        assert (files["minItems"], files.get("maxItems")) == (1, limit)
        assert body["content"][MULTIPART]["schema"]["required"] == ["files"]


def test_every_problem_of_an_operation_is_of_its_type_and_named_by_its_status(description):
    for path in ("/v1/predict", "/v1/report"):
        responses = description["paths"][path]["post"]["responses"]
        for kind in ("malformed", "too-large", "unsupported-type", "invalid", "busy"):
            answer = responses[str(KINDS[kind].status)]
            assert KINDS[kind].title in answer["description"].split(". ")
            assert list(answer["content"]) == ["application/problem+json"]
    assert str(KINDS["no-result"].status) in responses
    assert str(KINDS["no-result"].status) not in description["paths"]["/v1/predict"]["post"]["responses"]


def test_problems_takes_known_kinds_only():
    assert set(problems("busy", "archive")) == {503, 502}
    with pytest.raises(KeyError):
        problems("no such kind")
