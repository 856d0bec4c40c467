"""The bodies of the REST service, as its OpenAPI description shows them."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from covid_monai.api.uploads import Limits
from covid_monai.core.vocabulary import RESEARCH_USE, Status
from covid_monai.inference.prediction import Prediction

_UID = "[0-9][0-9.]{0,63}"
INSTANCE_PATH = f"/studies/{_UID}/series/{_UID}/instances/{_UID}"
Address = Annotated[
    str,
    Field(
        max_length=1024,
        # ASCII, as "any but white space" means other letters to other engines of regular expressions.
        pattern=rf"^https?://[A-Za-z0-9._~:/@%\[\]-]+{INSTANCE_PATH}$",
        examples=[
            "https://pacs.example/dicom-web/studies/1.2.3/series/1.2.3.4/instances/1.2.3.4.5",
        ],
    ),
]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class FieldProblem(_Body):
    """What is wrong with one field."""

    field: str
    detail: str


class Problem(_Body):
    """RFC 9457; `notice` and `errors` are extension members."""

    type: str = Field(description="Address of a page that says what this kind of problem means.")
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
    """An instance as QIDO-RS answers it; of its attributes only Retrieve URL is used."""

    retrieve_url: RetrieveURL = Field(alias="00081190")


class Decision(_Body):
    """The class at the operating point, or "uncertain"."""

    class_name: str = Field(alias="class")
    reason: str | None
    at_operating_point: str
    rule: str
    thresholds: dict[str, float]


class ModelIdentity(_Body):
    """What made a prediction."""

    name: str
    version: str
    weights_sha256: str
    preprocessing_digest: str
    backend: str


class Record(_Body):
    """What became of one file: as a line of `covid-monai predict --json`."""

    file: str = Field(description="The file's name as it was sent, without folders; or its address.")
    status: Status
    reason: str | None = Field(description="Why there is no class, in a word.")
    detail: str | None = Field(description="Why there is no class, in a sentence.")
    predicted_class: str | None = Field(description="The most probable class.")
    probabilities: dict[str, float] | None = Field(description="Calibrated; they sum to 1.")
    prediction_set: list[str] | None = Field(description="The classes that cannot be excluded.")
    decision: Decision | None
    model: ModelIdentity
    notice: str

    @classmethod
    def of(cls, prediction: Prediction) -> "Record":
        """From a prediction."""
        return cls.model_validate(prediction.to_json())


class Answer(_Body):
    """One record for each file, in the order in which they were sent."""

    predictions: list[Record]
    notice: str = RESEARCH_USE


class LimitsShown(_Body):
    """What is taken at once."""

    max_file_bytes: int
    max_files: int
    max_total_bytes: int

    @classmethod
    def of(cls, limits: Limits) -> "LimitsShown":
        """From the limits."""
        return cls(**{name: getattr(limits, name) for name in cls.model_fields})


class ModelAnswer(_Body):
    """The model that answers, and what it takes."""

    model: ModelIdentity
    class_names: list[str]
    operating_point: dict[str, float] | None = Field(description="Class name to its threshold.")
    rule: str | None = Field(description="What the operating point was chosen for.")
    coverage: float | None = Field(description="Share of images whose prediction set holds the true class.")
    input_gate: bool = Field(description="Whether images unlike those of the training are refused.")
    fetches_from: list[str] = Field(description="DICOMweb roots that images may be fetched from.")
    limits: LimitsShown
    software: str
    notice: str = RESEARCH_USE


class Health(_Body):
    """Whether the service works."""

    status: Literal["live", "ready", "busy"]
    notice: str = RESEARCH_USE
