"""The images of one visitor, without a browser."""

import asyncio

import pytest
from prediction_helpers import prediction

from covid_monai.api.uploads import LimitExceeded, Limits, Upload
from covid_monai.app.session import ImageSession, ServedModel


class Engine:
    def predict(self, uploads):
        return (prediction(upload.name) for upload in uploads)


@pytest.mark.parametrize("limits", [Limits(max_files=2), Limits(max_total_bytes=25)], ids=["count", "size"])
def test_a_visitor_keeps_so_many_images_and_may_remove_some(limits):
    session = ImageSession(ServedModel("model", None, Engine()), limits)
    first = asyncio.run(session.add(Upload("1.png", bytes(10))))
    asyncio.run(session.add(Upload("2.png", bytes(10))))
    with pytest.raises(LimitExceeded, match=r"^3\.png was not added.*Remove images"):
        asyncio.run(session.add(Upload("3.png", bytes(10))))
    session.remove(first)
    asyncio.run(session.add(Upload("3.png", bytes(10))))
    assert [image.source.name for image in session] == ["2.png", "3.png"]
