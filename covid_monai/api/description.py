"""What FastAPI cannot work out of the code for OpenAPI: bodies of many types, and problems."""

from typing import Any

from pydantic import TypeAdapter

from covid_monai.api.intake import DICOM_JSON, DICOM_JSON_BODY, JSON, MULTIPART, RAW_TYPES
from covid_monai.api.multipart import FIELD
from covid_monai.api.problems import KINDS, MEDIA_TYPE
from covid_monai.api.schemas import Problem, Reference
from covid_monai.core.vocabulary import RESEARCH_USE

TITLE = "covid-monai"
DESCRIPTION = f"""\
Classifies frontal chest radiographs (normal, pneumonia, COVID-19).

**{RESEARCH_USE}** Every answer says so, in `notice` and in the header `X-Research-Use`.

A file that is refused or cannot be read is a record with its reason, and status 200: it never stops the
others, and it is never "normal". Problems with the request itself are `application/problem+json` (RFC 9457).
"""
_PREFIX = "#/components/schemas/"
_FILE = {"type": "string", "format": "binary"}


def request_body(*, single: bool) -> dict[str, Any]:
    """`requestBody` of an operation that takes images, or a single one only.

    How many at most is no part of it: more are too large (413), not invalid (422).
    """
    files: dict[str, Any] = {"type": "array", "items": _FILE, "minItems": 1}
    if single:
        files["maxItems"] = 1
    form = {
        "type": "object",
        "properties": {FIELD: files},
        "required": [FIELD],
        "additionalProperties": False,
    }
    content: dict[str, Any] = {MULTIPART: {"schema": form}}
    content |= {kind: {"schema": _FILE} for kind in RAW_TYPES}
    content[JSON] = {"schema": {"$ref": f"{_PREFIX}{Reference.__name__}"}}
    if not single:
        content[DICOM_JSON] = {"schema": _schema(DICOM_JSON_BODY)}
    return {"requestBody": {"required": True, "content": content}}


def problems(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """`responses` of an operation that may end in these problems."""
    responses: dict[int | str, dict[str, Any]] = {}
    for name in kinds:
        kind = KINDS[name]
        responses[int(kind.status)] = {
            "description": kind.title,
            "content": {MEDIA_TYPE: {"schema": {"$ref": f"{_PREFIX}{Problem.__name__}"}}},
        }
    return responses


def add_components(description: dict[str, Any]) -> dict[str, Any]:
    """Add the schemas that `request_body` and `problems` refer to."""
    schemas = description.setdefault("components", {}).setdefault("schemas", {})
    for adapter in (TypeAdapter(Problem), TypeAdapter(Reference), DICOM_JSON_BODY):
        schema = adapter.json_schema(ref_template=_PREFIX + "{model}")
        schemas |= schema.pop("$defs", {})
        if "title" in schema:
            schemas[schema["title"]] = schema
    return description


def _schema(adapter: TypeAdapter) -> dict[str, Any]:
    schema = adapter.json_schema(ref_template=_PREFIX + "{model}")
    schema.pop("$defs", None)
    return schema
