"""What the viewer publishes for one visitor, in a browser."""

import re

import requests
from app_helpers import browser_test, until


@browser_test
def test_what_a_visitor_left_is_gone_and_no_name_is_in_the_log(page, server, images):
    page.upload(images / "image.dcm")
    page.wait_for(".viewer[data-drawn=yes]")
    image = page.driver.execute_script(
        "return performance.getEntriesByType('resource').map(e => e.name).find(n => n.includes('/blob/'))"
    )
    assert image.startswith(server.url)
    assert requests.get(image, timeout=60).headers["Cache-Control"] == "no-store"
    page.driver.get("about:blank")
    until(lambda: requests.get(image, timeout=60).status_code == 404, "the image is forgotten")
    assert not re.search("secret|image|patient|Traceback", server.log.read_text(), re.IGNORECASE)
