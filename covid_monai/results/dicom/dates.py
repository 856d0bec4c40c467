"""When a result says that it was made: when its radiograph was, so that its bytes repeat."""

from pydicom import config
from pydicom.dataset import Dataset
from pydicom.valuerep import DA, TM, validate_value

from covid_monai.dicom.elements import get_text

_KINDS = ("Content", "Acquisition", "Series", "Study")
# Of a radiograph without any date: reports must have one (PS3.3 C.17.2), and nobody believes this one.
NO_DATE = "19000101"
NO_TIME = "000000"


def date_and_time(ds: Dataset) -> tuple[str, str]:
    """Content Date and Content Time of the results of a radiograph.

    Returns:
        Those of its content, else of its acquisition, series or study; `NO_DATE` if it has none. The time
        goes with the date; `NO_TIME` if there is none.
    """
    for kind in _KINDS:
        date = _legal(ds, f"{kind}Date", "DA")
        if date:
            return date, _legal(ds, f"{kind}Time", "TM") or NO_TIME
    return NO_DATE, NO_TIME


def _legal(ds: Dataset, keyword: str, vr: str) -> str:
    value = get_text(ds, keyword)
    try:
        validate_value(vr, value, config.RAISE)
        DA(value) if vr == "DA" else TM(value)
    except ValueError:
        return ""
    return value
