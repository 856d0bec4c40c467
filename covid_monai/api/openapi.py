"""The parts of the OpenAPI description that FastAPI cannot derive: bodies of several types, and problems."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from covid_monai.api.multipart import FIELD
from covid_monai.api.problems import KINDS, MEDIA_TYPE
from covid_monai.api.request_body import DICOM_JSON, JSON, MULTIPART, RAW_TYPES
from covid_monai.api.schemas import DicomJsonInstance, Problem, Reference
from covid_monai.core.vocabulary import RESEARCH_USE

TITLE = "covid-monai"
DESCRIPTION = f"""\
Classifies frontal chest radiographs (normal, pneumonia, COVID-19).

**{RESEARCH_USE}** Every answer repeats this in `notice` and in the header `X-Research-Use`.

A file that is refused or cannot be read gets a record with its reason, and the status of the answer is 200.
Such a file never stops the others, and it is never "normal". Problems with the request itself are
`application/problem+json` (RFC 9457).
"""
NO_KEY: dict[str, Any] = {"security": []}
_PREFIX = "#/components/schemas/"
_FILE = {"type": "string", "format": "binary"}


def request_body(*, single: bool) -> dict[str, Any]:
    """Describe the `requestBody` of an operation that takes images, or one image only.

    The largest number of images is not part of the schema: more images are too large (413), not invalid
    (422).
    """
    files = {"type": "array", "items": _FILE, "minItems": 1} | ({"maxItems": 1} if single else {})
    form = {"type": "object", "properties": {FIELD: files}, "required": [FIELD]}
    content: dict[str, Any] = {MULTIPART: {"schema": form | {"additionalProperties": False}}}
    content |= {media_type: {"schema": _FILE} for media_type in RAW_TYPES}
    content[JSON] = {"schema": _reference(Reference)}
    if not single:
        content[DICOM_JSON] = {"schema": {"type": "array", "items": _reference(DicomJsonInstance)}}
    return {"requestBody": {"required": True, "content": content}}


def problems(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """Describe the `responses` of an operation that may end in these problems."""
    content = {MEDIA_TYPE: {"schema": _reference(Problem)}}
    titles: dict[int | str, list[str]] = {}
    for kind in kinds:
        titles.setdefault(KINDS[kind].status, []).append(KINDS[kind].title)
    return {status: {"description": ". ".join(found), "content": content} for status, found in titles.items()}


def describe(api: FastAPI, *, needs_key: bool) -> dict[str, Any]:
    """Return FastAPI's description with the schemas that `request_body` and `problems` refer to.

    Args:
        api: The application.
        needs_key: Whether operations need an API key, all but those that are described with `NO_KEY`.
    """
    description = FastAPI.openapi(api)
    models = [(model, "validation") for model in (Problem, Reference, DicomJsonInstance)]
    _, schemas = models_json_schema(models, ref_template=_PREFIX + "{model}")  # type: ignore[arg-type]
    description["components"]["schemas"] |= schemas["$defs"]
    if needs_key:
        schemes = {scheme: {"type": "http", "scheme": scheme} for scheme in ("bearer", "basic")}
        description["components"]["securitySchemes"] = schemes
        description["security"] = [{scheme: []} for scheme in schemes]
    return description


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"{_PREFIX}{model.__name__}"}
