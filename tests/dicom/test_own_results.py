"""Our results are recognised by their UIDs and not by a name that anybody can write."""

import pytest
from dicom_helpers import make_ds, picture
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID, generate_uid

from covid_monai.core.vocabulary import RESULT_DEVICE, RefusalReason, RefusedImage
from covid_monai.dicom.acceptance import check_radiograph
from covid_monai.dicom.own_results import has_own_uids, own_instance_uid

CR, DX, SC = (f"1.2.840.10008.5.1.4.1.1.{kind}" for kind in ("1", "1.1", "7"))


def item(**values):
    found = Dataset()
    for keyword, value in values.items():
        setattr(found, keyword, value)
    return found


def code(concept):
    return item(CodeValue=concept.value, CodingSchemeDesignator="DCM", CodeMeaning=concept.meaning)


def derived(concept):
    return [item(ReferencedSOPInstanceUID="1.2.3", PurposeOfReferenceCodeSequence=[code(concept)])]


def refused(**values):
    with pytest.raises(RefusedImage) as error:
        check_radiograph(make_ds(picture(), **values))
    return error.value.reason


def test_the_uid_of_a_result_is_a_uid_and_only_its_own_series_gives_it():
    series = generate_uid()
    own = own_instance_uid(series)
    assert UID(own).is_valid
    assert has_own_uids(series, own)
    for other in ("", "1.2", f"{own}.1", own[:-1], f"{series}.1"):
        assert not has_own_uids(series, other)
        assert not has_own_uids(other, own)
    assert not has_own_uids(own, own)


@pytest.mark.parametrize("sop_class", [CR, DX, SC])
def test_an_image_that_claims_our_name_is_an_image(sop_class):
    for name in (RESULT_DEVICE, f" {RESULT_DEVICE} ", RESULT_DEVICE.upper()):
        check_radiograph(make_ds(picture(), SOPClassUID=sop_class, ManufacturerModelName=name))


@pytest.mark.parametrize("sop_class", [CR, DX, SC])
def test_an_object_with_the_uids_of_a_result_is_none(sop_class):
    uids = {"SeriesInstanceUID": "1.2.3", "SOPInstanceUID": own_instance_uid("1.2.3")}
    assert refused(SOPClassUID=sop_class, **uids) == RefusalReason.REPORT


def test_a_picture_that_was_made_from_another_image_is_refused_whoever_made_it():
    processed = derived(codes.DCM.SourceImageForImageProcessingOperation)
    assert refused(SOPClassUID=SC, SourceImageSequence=processed) == RefusalReason.REPORT
    for sop_class, sources in (
        (DX, processed),  # "for presentation" made from "for processing", as the standard asks
        (SC, derived(codes.DCM.UncompressedPredecessor)),
        (SC, [item(ReferencedSOPInstanceUID="1.2.3")]),
        (SC, []),
    ):
        check_radiograph(make_ds(picture(), SOPClassUID=sop_class, SourceImageSequence=sources))
