"""Texts of headers as plain words, and terms in them."""

import pytest
from dicom_helpers import code_item, make_ds, picture, refusal, save
from hypothesis import given
from hypothesis import strategies as st

from covid_monai.core.vocabulary import RefusalReason
from covid_monai.dicom.header_terms import Finding, Terms, describe_contradiction, find_code, plain_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Tórax", "TORAX"),
        ("klatka piersiowa - płuca", "KLATKA PIERSIOWA PLUCA"),
        ("Göğüs, akciğer \u0131ş\u0131n", "GOGUS AKCIGER ISIN"),
        ("Fuß", "FUSS"),
        ("SWIMMER'S", "SWIMMER S"),
        ("CHEST_PA^W033", "CHEST PA W 033"),
        ("ThoraxSeitlich", "THORAX SEITLICH"),
        ("Tórax".encode().decode("latin-1"), "TORAX"),  # UTF-8 in an element without a character set
        ("胸部側位", "胸部側位"),
        ("", ""),
    ],
)
def test_case_accents_and_punctuation_go(text, words):
    assert plain_words(text) == words


@given(st.text(max_size=80))
def test_any_text_gives_words(text):
    words = plain_words(text)
    assert words == " ".join(words.split())
    assert all(word.isalnum() for word in words.split())


@pytest.mark.parametrize(
    ("charset", "encoding", "word"),
    [
        ("ISO_IR 100", "latin-1", "SCHLÜSSELBEIN"),
        ("ISO_IR 101", "iso8859-2", "ŻEBRA"),
        ("ISO_IR 144", "iso8859-5", "РЕБРА"),
        ("ISO_IR 192", "utf-8", "胸椎"),
        ("GB18030", "gb18030", "胸椎"),
        ("\\ISO 2022 IR 87", "iso2022_jp", "胸椎"),
        ("", "latin-1", "CÔTES"),
        ("UNKNOWN", "utf-8", "CÔTES"),
    ],
)
@pytest.mark.parametrize("keyword", ["BodyPartExamined", "SeriesDescription"])
def test_words_in_the_character_set_of_the_file(tmp_path, charset, encoding, word, keyword):
    held = word.encode(encoding)
    mark = b"MARK" * 8
    ds = make_ds(picture(), SpecificCharacterSet=charset, **{keyword: mark.decode()})
    path = save(ds, tmp_path / "image.dcm")
    path.write_bytes(path.read_bytes().replace(mark, held.ljust(len(mark))))
    assert refusal(path) is RefusalReason.NOT_CHEST


def test_terms_are_whole_words_and_are_quoted_from_the_table():
    terms = Terms(["KNIE*", "T SPINE", "*THORAX"])
    assert terms.find("RECHTES KNIEGELENK") == "KNIE"
    assert terms.find("TSPINE AP") == terms.find("T SPINE") == "T SPINE"
    assert terms.find("HEMITHORAX") == "THORAX"
    assert terms.find("BEKNIE SPINE") is None
    assert terms.remove("KNIE T SPINE PA").split() == ["PA"]


@pytest.mark.parametrize(
    ("value", "scheme", "name"),
    [
        ("122495006", "SCT", "thoracic spine"),
        ("T-11502", "SRT", "thoracic spine"),
        ("T-11502", "SNM3", "thoracic spine"),
        ("T-11502", "SCT", None),
        ("36643-5", "LN", None),
        ("", "", None),
    ],
)
def test_codes_of_both_snomed_systems(value, scheme, name):
    item = code_item(value, "whatever", scheme)
    assert find_code(item, {"122495006": "thoracic spine"}) == name


def test_a_contradiction_names_both_elements():
    chest, skull = Finding("A", "CHEST", fits=True), Finding("B", "SKULL", fits=False)
    assert describe_contradiction([]) is describe_contradiction([chest]) is None
    assert describe_contradiction([skull]) == "B names SKULL"
    assert describe_contradiction([chest, skull]) == "B names SKULL, although A names CHEST"
