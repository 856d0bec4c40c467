"""The page and the REST service as one application, without a browser."""

import re

import requests
from api_helpers import connected, post, problem, serving
from pacs_helpers import wait_until
from results_helpers import SHIPPED

from covid_monai.api.engine import Engine
from covid_monai.api.uploads import MIB, Limits
from covid_monai.app.server import create_app
from covid_monai.app.session import AppContext, ServedModel
from covid_monai.bundle import Bundle

DICOM = {"Content-Type": "application/dicom"}


def test_rest_and_page_share_one_memory_budget(classifier):
    engine = Engine(classifier)
    limits = Limits(2 * MIB, max_total_bytes=2 * MIB, max_held_bytes=3 * MIB)
    context = AppContext({"model": ServedModel("model", Bundle(SHIPPED), engine)}, limits)
    head = f"Content-Type: application/dicom\r\nContent-Length: {2 * MIB}"
    with serving(create_app(context, loopback=True)) as url:

        def drop(size):
            path = re.search(r"/_covid_monai/[0-9a-f-]{36}/\d+", requests.get(url, timeout=60).text)[0]
            return requests.post(url + path, data=bytes(size), headers={"X-File-Name": "a.dcm"}, timeout=60)

        # REST holds most of it: the page takes no file more, and says what to do.
        with connected(url, head, bytes(2 * MIB - 1)):
            wait_until(lambda: context.budget.held == 2 * MIB - 1, seconds=20, what="the body has arrived")
            answer = drop(3 * MIB // 2)
            assert answer.status_code == 413
            assert "Remove images" in answer.json()["detail"]
        wait_until(lambda: context.budget.held == 0, seconds=20, what="memory is free when it has gone")

        # The page holds most of it: REST is busy.
        assert drop(2 * MIB).ok
        assert context.budget.held == 2 * MIB
        answer = post(url, data=bytes(3 * MIB // 2), headers=DICOM)
        assert "Remove images" in problem(answer, "busy")["detail"]
        assert int(answer.headers["Retry-After"]) > 0
        assert post(url, data=bytes(MIB // 2), headers=DICOM).ok
    engine.close()
