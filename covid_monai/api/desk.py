"""What the operations of the REST service share: from a request to predictions and reports."""

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any, TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import Request, Response
from starlette.requests import ClientDisconnect

from covid_monai.api.engine import Engine
from covid_monai.api.intake import Intake
from covid_monai.api.problems import ProblemError, invalid
from covid_monai.api.schemas import FieldProblem
from covid_monai.api.uploads import Limits, Upload, unpack_all
from covid_monai.inference.prediction import Prediction

Result = TypeVar("Result")


class Form(StrEnum):
    """In which form a report is wanted."""

    PDF = "pdf"
    SR = "sr"
    HEATMAP = "heatmap"


class Desk:
    """What the operations share.

    Args:
        engine: Makes the predictions.
        intake: Takes bodies in.
        limits: Of one request.
        fetches_from: DICOMweb roots.
    """

    def __init__(self, engine: Engine, intake: Intake, limits: Limits, fetches_from: tuple[str, ...]) -> None:
        self.engine = engine
        self.intake = intake
        self.limits = limits
        self.fetches_from = fetches_from
        # More threads than callers, so that one too many is told at once that the engine is busy.
        self._threads = CapacityLimiter(engine.max_callers + 8)

    async def in_thread(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Wait for a function without holding up the others."""
        return await to_thread.run_sync(function, *arguments, limiter=self._threads)

    async def predict(self, request: Request, uploads: Iterable[Upload]) -> list[Prediction]:
        """Classify until all is done or the client has gone.

        Raises:
            ClientDisconnect: If nobody waits for the answer any more.
        """
        predictions = self.engine.predict(unpack_all(uploads, self.limits))
        found: list[Prediction] = []
        try:
            while (one := await self.in_thread(next, predictions, None)) is not None:
                found.append(one)
                if await request.is_disconnected():
                    raise ClientDisconnect
        finally:
            predictions.close()
        return found

    async def only_upload(self, uploads: Iterable[Upload]) -> Upload:
        """The one image of a request.

        Raises:
            ProblemError: If there are several, or none.
        """
        found: list[Upload] = await self.in_thread(list, unpack_all(uploads, self.limits))
        if len(found) != 1:
            raise invalid([FieldProblem(field="files", detail=f"send one image, not {len(found)}")])
        return found[0]

    def report(self, upload: Upload, form: Form) -> Response:
        """Make the report of one image.

        Raises:
            ProblemError: If there is none in this form.
        """
        from covid_monai.results import NoResultObjects

        (prediction,) = self.engine.predict([upload])
        if form is Form.PDF:
            return _download(self.engine.page_pdf(upload, prediction), "application/pdf", "report.pdf")
        if not prediction.ok:
            raise ProblemError("no-result", f"{prediction.status}, {prediction.reason}: {prediction.detail}")
        try:
            objects = self.engine.dicom_objects(upload, prediction, heatmap=form is Form.HEATMAP)
        except NoResultObjects as error:
            raise ProblemError("no-result", str(error)) from error
        chosen = objects[1 if form is Form.HEATMAP else 0]
        return _download(chosen.data, "application/dicom", chosen.name)


def _download(content: bytes, kind: str, name: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(content, media_type=kind, headers=headers)
