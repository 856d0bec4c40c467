"""The drop zone without a browser."""

import gc
import weakref

from fastapi.testclient import TestClient
from nicegui import Client, app
from nicegui.page import page

from covid_monai.api.uploads import Limits, MemoryBudget, Upload
from covid_monai.app.widgets.dropzone import Dropzone


def test_dropzone_is_gone_with_its_visitor():
    """FastAPI keeps handlers in caches of its own, beyond their routes."""

    class Visitor:
        def __init__(self):
            self.files = []
            self.zone = Dropzone(Limits(), MemoryBudget(1000), on_files=self.take)

        def take(self, dropped):
            self.files += dropped.uploads

    client = Client(page("/for-this-test"), request=None)
    with client:
        visitor = Visitor()
    address = visitor.zone.props["url"]
    answer = TestClient(app).post(address, content=b"an image", headers={"X-File-Name": "image.dcm"})
    assert answer.json() == {"files": 1}
    assert visitor.files == [Upload("image.dcm", b"an image")]
    left = weakref.ref(visitor)
    client.delete()
    del visitor, client
    gc.collect()
    assert left() is None
    assert address not in {getattr(route, "path", "") for route in app.routes}
