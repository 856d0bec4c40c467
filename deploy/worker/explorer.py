"""Plugin of Orthanc: a button on each study that shows the worker's results of this study on one page.

Install Orthanc's Python plugin (Debian: orthanc-python) and name this file in orthanc.json:
"PythonScript": "/etc/orthanc/explorer.py". Whoever may use Orthanc's pages can see the results.

Anybody who may store objects can write our name into a header. Therefore the page is as trustworthy as the
archive, and every text of an object is escaped.
"""

import html
import json
from collections.abc import Iterator
from typing import Any

import orthanc

_RESULT_DEVICE = "covid-monai results"  # Manufacturer's Model Name
_REPORT, _HEAT_MAP = "1.2.840.10008.5.1.4.1.1.88.33", "1.2.840.10008.5.1.4.1.1.7"
_PDF = "1.2.840.10008.5.1.4.1.1.104.1"
_NOTICE = "Research software, not a medical device: not for diagnosis or treatment."
_BUTTON = """
$('#study').live('pagebeforecreate', function() {
  $('<a>').attr({id: 'covid-monai-results', href: '#', 'data-role': 'button', 'data-icon': 'search',
                 'data-theme': 'e'})
    .text('Results of covid-monai (research)')
    .insertBefore($('#study-delete').parent().parent())
    .click(function() {
      if ($.mobile.pageData) {
        window.open('../covid-monai/studies/' + encodeURIComponent($.mobile.pageData.uuid));
      }
      return false;
    });
});
"""
_STYLE = (
    "body{font:16px/1.5 sans-serif;margin:2em auto;max-width:60em;padding:0 1em}"
    "h2{overflow-wrap:anywhere}img{max-width:100%}td{padding:.1em 1em .1em 0;vertical-align:top}"
    ".notice{background:#fff3c4;padding:.5em 1em}@media print{details{display:none}}"
)
# In a report, what belongs to the finding. The rest describes who made the report, and how.
_FINDINGS = ("CONTAINS", "INFERRED FROM")
_OTHER_REFERENCES = (  # not to the image
    "ReferencedPerformedProcedureStepSequence",
    "ReferencedStudySequence",
    "ReferencedPatientSequence",
)
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'",
    "Cache-Control": "no-store",
}


def show_results(output: Any, uri: str, **request: Any) -> None:  # noqa: ARG001
    """Answer `/covid-monai/studies/ID` with a page of all results in a study."""
    if request["method"] != "GET":
        output.SendMethodNotAllowed("GET")
        return
    try:
        study = json.loads(orthanc.RestApiGet(f"/studies/{request['groups'][0]}"))
    except orthanc.OrthancException:
        output.SendHttpStatusCode(404)
        return
    for name, value in _HEADERS.items():
        output.SetHttpHeader(name, value)
    page = "".join(_page(_find_results(study["MainDicomTags"]["StudyInstanceUID"])))
    output.AnswerBuffer(page, "text/html; charset=utf-8")


def _find_results(study_instance_uid: str) -> list[tuple[str, dict[str, Any]]]:
    """Return Orthanc's identifiers of the results in a study with their elements, in the order of making."""
    question = {"StudyInstanceUID": study_instance_uid, "ManufacturerModelName": _RESULT_DEVICE}
    body = json.dumps({"Level": "Instance", "Query": question})
    found = json.loads(orthanc.RestApiPost("/tools/find", body))
    results = [(one, json.loads(orthanc.RestApiGet(f"/instances/{one}/simplified-tags"))) for one in found]
    return sorted(results, key=lambda result: (_source(result[1]), str(result[1].get("SeriesNumber"))))


def _source(elements: dict[str, Any]) -> str:
    """Return the SOP Instance UID of the image that a result was made of, "" if the result does not tell."""
    for name, value in elements.items():
        if name in _OTHER_REFERENCES:
            continue
        if name == "ReferencedSOPInstanceUID" and isinstance(value, str):
            return value
        for item in value if isinstance(value, list) else ():
            if found := _source(item):
                return found
    return ""


def _page(results: list[tuple[str, dict[str, Any]]]) -> Iterator[str]:
    yield "<!DOCTYPE html><html lang=en><meta charset=utf-8><title>Results of covid-monai</title>"
    yield f"<style>{_STYLE}</style>"
    yield f"<h1>Results of covid-monai</h1><p class=notice role=note>{_NOTICE}</p>"
    if not results:
        yield (
            "<p>This study has no results. The administrator of the worker can see the reason: "
            "<code>covid-monai worker explain --config FILE UID</code></p>"
        )
    image = None
    for identifier, elements in results:
        if _source(elements) != image:
            image = _source(elements)
            yield f"<h2>Image {html.escape(image)}</h2>"
        yield from _result(identifier, elements)


def _result(identifier: str, elements: dict[str, Any]) -> Iterator[str]:
    description = html.escape(str(elements.get("SeriesDescription", "")))
    yield f"<h3>{description}</h3>"
    kind = elements.get("SOPClassUID")
    if kind == _REPORT:
        rows = list(_rows(elements.get("ContentSequence") or []))
        yield _table(name_and_value for is_finding, *name_and_value in rows if is_finding)
        yield "<details><summary>How the report was made</summary>"
        yield _table(name_and_value for is_finding, *name_and_value in rows if not is_finding)
        yield "</details>"
    elif kind == _HEAT_MAP:
        yield f"<img src='../../instances/{identifier}/preview' alt='{description}'>"
    elif kind == _PDF:
        yield f"<p><a href='../../instances/{identifier}/pdf'>Open the PDF</a></p>"
    else:
        yield "<p>A viewer of DICOM images shows this object together with the image.</p>"


def _rows(items: list[dict[str, Any]]) -> Iterator[tuple[bool, str, str]]:
    """Yield the content items of a report: whether an item belongs to the finding, its name and its value."""
    for item in items:
        value = _value(item)
        if value:
            yield item.get("RelationshipType") in _FINDINGS, _meaning(item, "ConceptNameCodeSequence"), value
        yield from _rows(item.get("ContentSequence") or [])


def _value(item: dict[str, Any]) -> str:
    measured = (item.get("MeasuredValueSequence") or [{}])[0].get("NumericValue")
    return str(item.get("TextValue") or measured or _meaning(item, "ConceptCodeSequence"))


def _meaning(item: dict[str, Any], sequence: str) -> str:
    return str((item.get(sequence) or [{}])[0].get("CodeMeaning", ""))


def _table(rows: Iterator[list[str]]) -> str:
    cells = (f"<tr><td>{html.escape(name)}<td>{html.escape(value)}" for name, value in rows)
    return f"<table>{''.join(cells)}</table>"


orthanc.RegisterRestCallback("/covid-monai/studies/([0-9a-f-]+)", show_results)
orthanc.ExtendOrthancExplorer(_BUTTON)
