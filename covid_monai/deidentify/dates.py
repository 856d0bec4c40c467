"""Dates that move by whole days, and ages that are not too rare."""

import re
from datetime import date, timedelta

_DATE = re.compile(r"(\d{4})\.?(\d\d)\.?(\d\d)")  # with points: ACR-NEMA, PS3.5 6.2
_DATETIME = re.compile(r"(\d{4})(\d\d)?(\d\d)?((?:\d\d){1,3}(?:\.\d{1,6})?)?(?:[+-]\d{4})?")
_TIME = re.compile(r"\d\d(:?\d\d(:?\d\d(\.\d{1,6})?)?)?")
_AGE = re.compile(r"(\d{3})([DWMY])")
_PER_YEAR = {"Y": 1.0, "M": 12.0, "W": 52.1775, "D": 365.2425}
MAX_AGE_YEARS = 89  # 45 CFR 164.514(b)(2)(i)(C): older people are so few that an age points at them


def shift_date(value: str, days: int) -> str:
    """Move a DA value back by `days`; "" for what is no date.

    >>> shift_date("20200301", 1), shift_date("2020.03.01", 1), shift_date("unknown", 1)
    ('20200229', '20200229', '')
    """
    match = _DATE.fullmatch(value.strip(" \0"))
    return "" if match is None else _earlier(int(match[1]), int(match[2]), int(match[3]), days)


def shift_datetime(value: str, days: int) -> str:
    """Move the date of a DT value back; time of day and precision stay, the zone goes (it names a region).

    A year or a month alone counts as its first day: what comes out is as coarse as what went in.

    >>> shift_datetime("20200301123000.5+0100", 1), shift_datetime("202003", 1), shift_datetime("2020", 1)
    ('20200229123000.5', '202002', '2019')
    """
    match = _DATETIME.fullmatch(value.strip(" \0"))
    if match is None:
        return ""
    year, month, day, rest = match.groups()
    moved = _earlier(int(year), int(month or 1), int(day or 1), days)
    precision = 8 if day else 6 if month else 4
    return moved[:precision] + (rest or "") if moved else ""


def is_time(value: str) -> bool:
    """Whether a TM value is a time of day and nothing else.

    >>> is_time("123000.25"), is_time("12"), is_time("noon")
    (True, True, False)
    """
    return _TIME.fullmatch(value.strip(" \0")) is not None


def coarsen_age(value: str) -> str:
    """Age as it is up to 89 years, `090Y` above; "" for what is no age.

    >>> coarsen_age("089Y"), coarsen_age("101Y"), coarsen_age("018M"), coarsen_age("old")
    ('089Y', '090Y', '018M', '')
    """
    match = _AGE.fullmatch(value.strip(" \0"))
    if match is None:
        return ""
    return "090Y" if int(match[1]) >= (MAX_AGE_YEARS + 1) * _PER_YEAR[match[2]] else match[0]


def _earlier(year: int, month: int, day: int, days: int) -> str:
    try:
        moved = date(year, month, day) - timedelta(days=days)
    except (ValueError, OverflowError):  # 31 February, or before the year 1
        return ""
    return f"{moved.year:04d}{moved.month:02d}{moved.day:02d}"
