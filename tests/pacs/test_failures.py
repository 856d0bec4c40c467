"""Failures: whose fault a failed request is. tests/pacs/test_client.py has the status codes of a server."""

import requests

from covid_monai.pacs.failures import Fault, classify_error


def test_404_is_the_archives_fault_when_results_are_sent():
    response = requests.Response()
    response.status_code = 404
    error = requests.HTTPError(response=response)
    assert classify_error(error).fault is Fault.OBJECT
    assert classify_error(error, storing=True).fault is Fault.ARCHIVE
