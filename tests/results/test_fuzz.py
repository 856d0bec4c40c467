"""Damaged and contradictory files through reader and writers: a result, or a clear error; no crash, no hang.

3,400 damaged headers, 1,500 pairs of a conformant codestream and a header, 400 damaged codestreams:
`pytest tests/results/test_fuzz.py -m slow`.
"""

import io
import itertools
import random
import struct
import time
import warnings
from collections import Counter

import cv2
import numpy as np
import pydicom
import pytest
from codestreams import SYNTAXES, every_stream, wrapped
from dicom_helpers import make_ds, picture, save
from results_helpers import MADE, classified, refused, small_classifier

from covid_monai.core.vocabulary import RefusedImage, UnreadableImage
from covid_monai.inference.grad_cam import ImageWithHeatmap
from covid_monai.readers import read_radiograph
from covid_monai.results import NoResultObjects, ObjectKind, ResultObjects
from covid_monai.results.dicom.presentation_state import make_presentation_state, may_have_presentation_state
from covid_monai.results.dicom.rendered_objects import encapsulate_pdf, make_secondary_capture
from covid_monai.results.dicom.result_objects import NOT_A_RADIOGRAPH
from covid_monai.results.dicom.result_series import ResultSeries
from covid_monai.results.dicom.source_radiograph import read_source
from covid_monai.results.dicom.structured_report import make_structured_report

pytestmark = pytest.mark.slow

LONGEST_S = 5.0
HEADER = {
    "SpecificCharacterSet": ["", "ISO 2022 IR 87"],
    "PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "PatientID": "P-1",
    "IssuerOfPatientID": "St Mary",
    "PatientBirthDate": "19500101",
    "PatientSex": "O",
    "PatientAge": "070Y",
    "StudyDate": "20200301",
    "StudyTime": "101112.123",
    "ContentDate": "20200301",
    "ContentTime": "101112",
    "AccessionNumber": "A1",
    "StudyID": "S1",
    "ReferringPhysicianName": "Roe^Richard",
    "StudyDescription": "Chest",
    "BurnedInAnnotation": "NO",
    "LossyImageCompression": "01",
    "LossyImageCompressionRatio": "10",
    "LossyImageCompressionMethod": "ISO_10918_1",
    "PatientOrientation": ["L", "F"],
    "BodyPartExamined": "CHEST",
    "WindowCenter": ["120", "40"],
    "WindowWidth": ["250", "80"],
    "RescaleSlope": "1",
    "RescaleIntercept": "0",
    "PixelPaddingValue": 0,
    "VOILUTFunction": "LINEAR",
    "TimezoneOffsetFromUTC": "+0900",
    "ImagerPixelSpacing": ["0.2", "0.2"],
}


def lut(count, bits):
    item = pydicom.Dataset()
    item.LUTDescriptor = [count, 0, bits]
    item.LUTData = np.linspace(0, 2**bits - 1, count).astype("<u2").tobytes()
    item["LUTData"].VR = "OW"
    return item


def seeds():
    """Small images as bytes, and where their pixels begin: implicit and explicit, with LUTs and sequences."""
    issuer = pydicom.Dataset()
    issuer.UniversalEntityID, issuer.UniversalEntityIDType = "1.2.3.4", "ISO"
    sequences = {"IssuerOfPatientIDQualifiersSequence": [issuer], "OtherPatientIDsSequence": [issuer]}
    tables = {"VOILUTSequence": [lut(256, 16)], "ModalityLUTSequence": [lut(256, 8)]}
    for implicit in (False, True):
        for more in ({}, sequences, tables, {"PhotometricInterpretation": "MONOCHROME1"}):
            ds = make_ds(picture(64, 80), **HEADER, **more)
            if implicit:
                ds.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
            buffer = io.BytesIO()
            ds.save_as(buffer, enforce_file_format=True)
            content = buffer.getvalue()
            yield content, len(content) - 64 * 80


LENGTHS = (0, 1, 3, 255, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)
WORDS = (b"\\", b"=", b"^", b"\x1b$B", b"\0", b"\xff\xfe", b"9" * 20, b"SQ", b"UN", b"1e9", b"-", b"\x07")


def put(data, at, piece):
    data[at : at + len(piece)] = piece


def damage_value(data, header, rng):
    """Other bytes in the value of an element that results take over; most files stay readable."""
    tag = pydicom.tag.Tag(rng.choice(list(HEADER)))
    found = data.find(struct.pack("<HH", tag.group, tag.element), 128, header)
    if found >= 0:
        put(data, found + 8, bytes(rng.randrange(256) for _ in range(rng.choice((1, 2, 4)))))


def damage_tag(data, header, rng):
    """An element becomes another one."""
    tag = pydicom.tag.Tag(rng.choice(list(HEADER)))
    found = data.find(struct.pack("<HH", tag.group, tag.element), 128, header)
    if found >= 0:
        other = pydicom.tag.Tag(rng.choice(list(HEADER)))
        put(data, found, struct.pack("<HH", other.group, other.element))


def damage_anything(data, header, rng):
    """A byte, a word that means something in DICOM, or a length, anywhere."""
    length = struct.pack("<I", rng.choice(LENGTHS))
    put(
        data, rng.randrange(128, header), rng.choice((bytes([rng.randrange(256)]), rng.choice(WORDS), length))
    )


def lose_or_double(data, header, rng):
    """A piece of the header is lost, or there twice."""
    at = rng.randrange(128, header)
    piece = data[at : at + rng.randrange(64)]
    data[at : at + len(piece)] = piece * rng.choice((0, 2))


def cut_off(data, _header, rng):
    """The file ends early."""
    del data[rng.randrange(140, len(data)) :]


DAMAGES = {damage_value: 10, damage_tag: 3, damage_anything: 10, lose_or_double: 2, cut_off: 1}


def mutate(content, header, rng):
    """One change or a few, in the header: bytes, lengths, tags, pieces lost or doubled, the end cut off."""
    data = bytearray(content)
    for damage in rng.choices(list(DAMAGES), list(DAMAGES.values()), k=rng.choice((1, 1, 1, 2, 4))):
        damage(data, min(header, len(data) - 8), rng)
    return bytes(data)


class FixedHeatMap:
    """Stands for the classifier: the network has nothing to do with headers, and would take long."""

    def __init__(self, classifier):
        self.model, self.gate = classifier.model, None
        self.operating_point, self.calibration = classifier.operating_point, classifier.calibration
        self.unseen_sources, self.lung_check = classifier.unseen_sources, classifier.lung_check
        self._heat = np.zeros((8, 8), np.float32)
        self._heat[2:5, 3:6] = 1

    def load_explainer(self):
        pass

    def explain(self, path, _class_name):
        image = read_radiograph(path)[0][0]
        to_image = np.diag([image.shape[0] / 8, image.shape[1] / 8, 1.0])
        return ImageWithHeatmap(image, self._heat, to_image)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return FixedHeatMap(small_classifier(tmp_path_factory.mktemp("bundle")))


def one_object(number, prediction, classifier, model):
    """One kind of object, by turns; building all four of every file would take half an hour."""
    source = read_source(prediction.file)
    kinds = [kind for kind in ObjectKind if prediction.ok or kind is ObjectKind.REPORT]
    kind = kinds[number % len(kinds)]
    series = ResultSeries(source, kind, model, MADE)
    if kind is ObjectKind.REPORT:
        # The most expensive by far, and what it takes from a header is what the others take too.
        return (
            make_structured_report(prediction, series)
            if number % 16 == 0
            else encapsulate_pdf(b"%PDF", series)
        )
    if kind is ObjectKind.HEATMAP:
        return make_secondary_capture(np.zeros((8, 8, 3), np.uint8), series)
    if kind is ObjectKind.PRESENTATION_STATE and may_have_presentation_state(source.ds):
        return make_presentation_state(classifier.explain(prediction.file, "covid"), prediction, series)
    return encapsulate_pdf(b"%PDF", series)


def outcome(number, classifier, path, model):
    """What becomes of one file, and its objects; any exception that is not listed here fails the test."""
    try:
        read_radiograph(path)
        prediction = classified(classifier, path)
    except RefusedImage as error:
        prediction = refused(classifier, path, str(error.reason))
    except UnreadableImage:
        return "unreadable", []
    try:
        if number % 200 == 0:
            objects = ResultObjects(classifier, pdf=True).of(prediction, MADE)
        elif prediction.reason in NOT_A_RADIOGRAPH:
            return "no radiograph", []
        else:
            objects = [one_object(number, prediction, classifier, model)]
    except NoResultObjects as error:
        message = str(error)
    else:
        return "written" if prediction.ok else "refused", objects
    assert "Yamada" not in message
    return "no objects", []


def fuzz(classifier, folder, *, count, seed):
    """How many files had which outcome; fails at the first that crashes, hangs or cannot be read back."""
    rng, images = random.Random(seed), list(seeds())
    model = ResultObjects(classifier).model
    counts, path = Counter(), folder / "image.dcm"
    for number in range(count):
        path.write_bytes(mutate(*rng.choice(images), rng))
        start = time.process_time()  # of this process: other work on the machine is no hang
        try:
            kind, objects = outcome(number, classifier, path, model)
        except Exception as error:
            kept = path.rename(folder / f"crash-{seed}-{number}.dcm")
            raise AssertionError(f"{kept}: {type(error).__name__}: {error}") from error
        took = time.process_time() - start
        assert took < LONGEST_S, f"file {number} of seed {seed} took {took:.1f} s"
        counts[kind] += 1
        for result in objects:
            assert result.StudyInstanceUID
            assert result.PatientID is not None
    return counts


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def test_damaged_headers_give_a_result_or_a_clear_error(classifier, tmp_path):
    counts = fuzz(classifier, tmp_path, count=400, seed=1)
    assert counts["written"] > 200, counts
    assert counts["unreadable"] > 20, counts
    assert counts["no objects"] > 5, counts


@pytest.mark.parametrize("seed", range(2, 5))
def test_a_thousand_damaged_headers_of_each_seed(classifier, tmp_path, seed):
    counts = fuzz(classifier, tmp_path, count=1000, seed=seed)
    assert counts.total() == 1000, counts
    assert counts["written"] > 400, counts


SHAPE = (150, 130)
# (allocated, stored) bits, signed, (samples, Photometric Interpretation)
PIXEL_HEADERS = list(
    itertools.product(
        [(8, 6), (8, 7), (8, 8), (16, 8), (16, 10), (16, 12), (16, 16)],
        (0, 1),
        [(1, "MONOCHROME2"), (1, "MONOCHROME1"), (3, "RGB"), (3, "YBR_FULL_422")],
    )
)


def shade():
    y, x = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1]]
    return np.clip(0.1 + 0.35 * (1 + np.sin(x / 27) * np.cos(y / 33)) + 0.15 * x / SHAPE[1], 0, 1)


def picture_of(kind, bits, *, signed_header):
    """What a stream of `shade` shows: two's complement where only the header can say that there is a sign."""
    if not signed_header or kind == "j2k":
        return shade()
    values = np.rint(shade() * (2**bits - 1)).astype(int)
    return np.where(values >> (bits - 1), values - (1 << bits), values)


def likeness(path, expected, target):
    """Correlation of an image with the picture, or the kind of the exception that its reader raises."""
    try:
        image = read_radiograph(path, target_size=target)[0][0]
    except (UnreadableImage, RefusedImage) as error:
        return type(error).__name__
    wanted = cv2.resize(expected.astype(np.float32), image.shape[::-1], interpolation=cv2.INTER_AREA)
    return float(np.corrcoef(image.ravel(), wanted.ravel())[0, 1])


def test_conformant_streams_in_every_header_are_shown_right_or_not_at_all(tmp_path):
    """The picture that was compressed, whole and reduced, or an error: no other picture, no abort."""
    outcomes = Counter()
    for (name, kind, stream, samples, bits), header in itertools.product(
        every_stream(shade()), PIXEL_HEADERS
    ):
        (allocated, stored), signed_header, (said_samples, photometric) = header
        ds = wrapped(
            stream, SYNTAXES[kind], SHAPE, allocated=allocated, stored=stored, samples=said_samples,
            signed=signed_header, photometric=photometric,
        )  # fmt: skip
        path = save(ds, tmp_path / "image.dcm")
        sign = signed_header == 1 and said_samples == 1  # the sign of a colour means nothing
        expected = picture_of(kind, bits, signed_header=sign)
        whole, reduced = (likeness(path, expected, target) for target in (None, 8))
        for found in (whole, reduced):
            shown = isinstance(found, float)
            direction = -1 if photometric == "MONOCHROME1" else 1
            assert not shown or found * direction > 0.98, (name, header, found)
        assert isinstance(whole, float) == isinstance(reduced, float), (name, header, whole, reduced)
        agrees = samples == said_samples and bits == stored and "turned" not in name
        conformant = agrees and not signed_header and "signed" not in name and photometric != "YBR_FULL_422"
        assert not conformant or isinstance(whole, float), (name, header, whole)
        outcomes[whole if isinstance(whole, str) else "shown"] += 1
    assert outcomes.total() >= 1400, outcomes
    assert outcomes["shown"] > 200, outcomes


def damage_stream(stream, rng):
    """Bytes of a codestream changed, most of them in its header, or its end cut off."""
    data = bytearray(stream)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        data[rng.randrange(len(data) if rng.random() < 0.5 else min(200, len(data)))] = rng.choice(
            (0, 1, 255, rng.randrange(256))
        )
    return bytes(data[: rng.randrange(2, len(data))] if rng.random() < 0.1 else data)


def test_damaged_streams_end_no_process(tmp_path):
    rng, outcomes = random.Random(3), Counter()
    for (name, kind, stream, samples, bits), number in itertools.product(every_stream(shade()), range(15)):
        ds = wrapped(
            damage_stream(stream, rng), SYNTAXES[kind], SHAPE[::-1] if "turned" in name else SHAPE,
            allocated=8 if bits <= 8 else 16, stored=bits, samples=samples, signed=int("signed" in name),
        )  # fmt: skip
        path, start = save(ds, tmp_path / "image.dcm"), time.monotonic()
        found = likeness(path, shade(), (None, 8)[number % 2])
        outcomes["shown" if isinstance(found, float) else found] += 1
        assert time.monotonic() - start < 60, (name, number)
    assert outcomes["UnreadableImage"] > 65, outcomes
    assert outcomes["shown"] > 30, outcomes
