"""The parts of the OpenAPI description that FastAPI cannot derive: bodies of several types, and problems."""

from typing import Any

from pydantic import TypeAdapter

from covid_monai.api.multipart import FIELD
from covid_monai.api.problems import KINDS, MEDIA_TYPE
from covid_monai.api.request_body import DICOM_JSON, DICOM_JSON_BODY, JSON, MULTIPART, RAW_TYPES
from covid_monai.api.schemas import Problem, Reference
from covid_monai.core.vocabulary import RESEARCH_USE

TITLE = "covid-monai"
DESCRIPTION = f"""\
Classifies frontal chest radiographs (normal, pneumonia, COVID-19).

**{RESEARCH_USE}** Every answer repeats this in `notice` and in the header `X-Research-Use`.

A file that is refused or cannot be read gets a record with its reason, and the status of the answer is 200.
Such a file never stops the others, and it is never "normal". Problems with the request itself are
`application/problem+json` (RFC 9457).
"""
_PREFIX = "#/components/schemas/"
_FILE = {"type": "string", "format": "binary"}


def request_body(*, single: bool) -> dict[str, Any]:
    """Describe the `requestBody` of an operation that takes images, or one image only.

    The largest number of images is not part of the schema: more images are too large (413), not invalid
    (422).
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
    content |= {media_type: {"schema": _FILE} for media_type in RAW_TYPES}
    content[JSON] = {"schema": {"$ref": f"{_PREFIX}{Reference.__name__}"}}
    if not single:
        content[DICOM_JSON] = {"schema": _schema(DICOM_JSON_BODY)}
    return {"requestBody": {"required": True, "content": content}}


def problems(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """Describe the `responses` of an operation that may end in these problems."""
    content = {MEDIA_TYPE: {"schema": {"$ref": f"{_PREFIX}{Problem.__name__}"}}}
    return {int(KINDS[kind].status): {"description": KINDS[kind].title, "content": content} for kind in kinds}


def add_components(description: dict[str, Any]) -> dict[str, Any]:
    """Add the schemas that `request_body` and `problems` refer to."""
    schemas = description.setdefault("components", {}).setdefault("schemas", {})
    for adapter in (TypeAdapter(Problem), TypeAdapter(Reference), DICOM_JSON_BODY):
        schema = adapter.json_schema(ref_template=_PREFIX + "{model}")
        schemas |= schema.pop("$defs", {})
        if "title" in schema:
            schemas[schema["title"]] = schema
    return description


def _schema(adapter: TypeAdapter[Any]) -> dict[str, Any]:
    schema = adapter.json_schema(ref_template=_PREFIX + "{model}")
    schema.pop("$defs", None)
    return schema
