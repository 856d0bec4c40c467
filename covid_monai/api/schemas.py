"""The JSON bodies of the REST service, as its OpenAPI description shows them."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from covid_monai.core.vocabulary import RESEARCH_USE, Status

_UID = "[0-9][0-9.]{0,63}"
INSTANCE_PATH = f"/studies/{_UID}/series/{_UID}/instances/{_UID}"
Address = Annotated[
    str,
    Field(
        max_length=1024,
        # ASCII: "any but white space" means other letters in other regular expression engines.
        pattern=rf"^https?://[A-Za-z0-9._~:/@%\[\]-]+{INSTANCE_PATH}$",
        examples=["https://pacs.example/dicom-web/studies/1.2.3/series/1.2.3.4/instances/1.2.3.4.5"],
    ),
]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class FieldProblem(_Body):
    """Error in one field."""

    field: str
    detail: str


class Problem(_Body):
    """RFC 9457; `notice` and `errors` are extension members."""

    type: str = Field(description="Address of a page that explains this kind of problem.")
    title: str
    status: int
    detail: str
    errors: list[FieldProblem] | None = Field(None, description="With status 422 only.")
    notice: str


class Reference(_Body):
    """An image in an archive, by its WADO-RS address (PS3.18 section 10.4)."""

    dicomweb_url: Address


class RetrieveURL(BaseModel):
    """Retrieve URL (0008,1190) in the DICOM JSON model (PS3.18 annex F)."""

    vr: Literal["UR"]
    Value: list[Address] = Field(min_length=1, max_length=1)


class DicomJsonInstance(BaseModel):
    """An instance in an answer of QIDO-RS; only its Retrieve URL is used."""

    retrieve_url: RetrieveURL = Field(alias="00081190")


class Decision(_Body):
    """The class at the operating point, or "uncertain"."""

    class_name: str = Field(alias="class")
    reason: str | None
    at_operating_point: str
    rule: str
    thresholds: dict[str, float]


class RateSpan(_Body):
    """Lowest and highest end of the 95 % intervals over the sources left out of the training."""

    false_alarms: list[float] = Field(min_length=2, max_length=2)
    sensitivity: list[float] = Field(min_length=2, max_length=2)


class Abnormal(_Body):
    """The first level of the answer: normal or abnormal."""

    probability: float = Field(description="1 - p(normal).")
    threshold: float | None = Field(description="Probability above which normal is excluded.")
    call: bool | None = Field(description="null if it cannot be told.")
    interval: RateSpan | None


class Cause(_Body):
    """The second level of the answer: the cause, which radiographs support weakly."""

    name: str = Field(description='A class, or "not told".')
    reason: str
    log_odds: float = Field(description="log p(class) - log p(normal) of the most probable class.")
    cut: float | None = Field(description="Log odds from which that class may be named.")


class SourceShift(_Body):
    """The source of the training that an image resembles, if any: a hint, no proof."""

    nearest: str | None = Field(description="Training source that the image resembles; null: none.")
    like_training: bool = Field(description="Whether the image resembles any training source.")
    note: str = Field(description="One sentence for people, with its caution.")


class Quality(_Body):
    """The lungs that the lung bundle found; sizes and positions are shares of the whole image."""

    found: bool = Field(description="Whether the image shows the lungs of a frontal radiograph.")
    number: int = Field(description="Separate regions that are large enough for a lung.")
    areas: list[float] = Field(description="Left and right side of the image.", min_length=2, max_length=2)
    center: list[float] | None = Field(
        description="From left to right, and from top to bottom.", min_length=2, max_length=2
    )
    symmetry: float | None = Field(description="Smaller area divided by the larger one.")
    cut_off: list[Literal["top", "bottom", "left", "right"]] = Field(
        description="Borders of the image that cut the lungs off."
    )
    certainty: float = Field(description="Mean probability of the pixels that are called lung.")
    likeness: float = Field(description="Overlap with average lungs, from 0 to 1.")
    note: str = Field(description="One or two sentences for people.")


class ModelIdentity(_Body):
    """Model that made a prediction."""

    name: str
    version: str
    weights_sha256: str
    preprocessing_digest: str
    backend: str


class Record(_Body):
    """Result for one file, as a line of `covid-monai predict --json`."""

    file: str = Field(description="Name of the file as it was sent, without folders; or its address.")
    status: Status
    reason: str | None = Field(description="Reason for having no class, in one word.")
    detail: str | None = Field(description="Reason for having no class, in one sentence.")
    predicted_class: str | None = Field(description="The most probable class.")
    probabilities: dict[str, float] | None = Field(description="Calibrated; they sum to 1.")
    prediction_set: list[str] | None = Field(description="The classes that cannot be excluded.")
    decision: Decision | None
    abnormal: Abnormal | None
    cause: Cause | None
    source_shift: SourceShift | None
    quality: Quality | None
    model: ModelIdentity
    notice: str


class Answer(_Body):
    """One record for each file, in the order of the files."""

    predictions: list[Record]
    notice: str = RESEARCH_USE


class LimitsShown(_Body):
    """Limits of one request."""

    max_file_bytes: int
    max_files: int
    max_total_bytes: int


class ModelAnswer(_Body):
    """Model of the service, and the limits of a request."""

    model: ModelIdentity
    class_names: list[str]
    operating_point: dict[str, float] | None = Field(description="Class name to its threshold.")
    rule: str | None = Field(description="Rule by which the operating point was chosen.")
    coverage: float | None = Field(description="Share of images whose prediction set holds the true class.")
    input_gate: bool = Field(description="Whether images unlike the training images are refused.")
    fetches_from: list[str] = Field(description="DICOMweb roots that images may be fetched from.")
    limits: LimitsShown
    software: str
    notice: str = RESEARCH_USE


class Health(_Body):
    """State of the service."""

    status: Literal["live", "ready", "busy"]
    notice: str = RESEARCH_USE
