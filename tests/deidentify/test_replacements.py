"""Pseudonyms, UIDs and dates: properties that hold for every value."""

import re
from datetime import date, datetime, timedelta

import pydicom.valuerep
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import UID

from covid_monai.deidentify.replacements import (
    Pseudonyms,
    coarsen_age,
    is_time,
    shift_date,
    shift_datetime,
)

ONE, OTHER = Pseudonyms(b"1" * 32), Pseudonyms(b"2" * 32)
days = st.integers(365, 3652)
dates = st.dates(date(1900, 1, 1), date(2100, 12, 31))
texts = st.text(max_size=64)


@given(dates, dates, days)
def test_intervals_between_dates_of_a_patient_are_kept(first, second, shift):
    moved = [date.fromisoformat(shift_date(f"{day:%Y%m%d}", shift)) for day in (first, second)]
    assert moved[1] - moved[0] == second - first
    assert first - moved[0] == timedelta(days=shift)


@given(dates, st.times(), days, st.integers(0, 6))
def test_a_datetime_keeps_its_time_of_day_and_precision_and_loses_its_zone(day, time, shift, digits):
    moment = datetime.combine(day, time)
    fraction = f".{moment.microsecond:06d}"[: digits + 1] if digits else ""
    moved = shift_datetime(f"{moment:%Y%m%d%H%M%S}{fraction}+0900", shift)
    assert moved == f"{moment - timedelta(days=shift):%Y%m%d%H%M%S}{fraction}"
    assert pydicom.valuerep.validate_value("DT", moved, pydicom.config.RAISE) is None


@given(dates, days, st.sampled_from([4, 6, 8, 10, 12, 14]))
def test_a_partial_datetime_stays_as_coarse_as_it_was(day, shift, length):
    given_value = f"{day:%Y%m%d}235959"[:length]
    moved = shift_datetime(given_value, shift)
    assert len(moved) == length
    whole = f"{day:%Y%m%d}"[:length].ljust(6, "0")
    whole = (whole[:4] + ("01" if length == 4 else whole[4:6]) + "01") if length < 8 else f"{day:%Y%m%d}"
    assert moved[:8] == shift_date(whole, shift)[:length]


@given(texts, days)
def test_what_is_no_date_never_comes_through(value, shift):
    for moved in (shift_date(value, shift), shift_datetime(value, shift)):
        assert re.fullmatch(r"|\d{4,14}(\.\d{1,6})?", moved)
    assert re.fullmatch(r"|\d{3}[DWMY]", coarsen_age(value))
    assert not is_time(value) or re.fullmatch(r"[\d:.\s\0]+", value)


@given(st.integers(0, 999), st.sampled_from("DWMY"))
def test_no_age_above_89_years_is_told(number, unit):
    years = number / {"Y": 1, "M": 12, "W": 52.1775, "D": 365.2425}[unit]
    told = coarsen_age(f"{number:03d}{unit}")
    assert told == (f"{number:03d}{unit}" if years < 90 else "090Y")


@given(texts)
def test_new_uids_are_valid_and_the_key_decides_them(value):
    uid = UID(ONE.uid(value))
    assert uid.is_valid
    assert len(uid) <= 64
    assert uid.startswith("2.25.")
    assert ONE.uid(value) == uid != OTHER.uid(value)


@given(st.sets(texts, min_size=2))
def test_no_two_values_share_a_uid_or_a_pseudonym(values):
    assert len({ONE.uid(value) for value in values}) == len(values)
    assert len({ONE.patient(value) for value in values}) == len(values)


@given(texts)
def test_a_pseudonym_is_plain_and_says_nothing(value):
    pseudonym = ONE.patient(value)
    assert re.fullmatch(r"P[A-Z2-7]{16}", pseudonym)
    assert pseudonym != OTHER.patient(value)
    assert 365 <= ONE.shift_days(value) <= 3652


def test_shifts_spread_over_nine_years_and_a_key_does_not_show_itself():
    shifts = {ONE.shift_days(str(number)) for number in range(20_000)}
    assert len(shifts) > 3200
    assert ONE.key.hex() not in repr(ONE)
    assert "1111" not in repr(ONE)
    assert ONE.key_id != OTHER.key_id
