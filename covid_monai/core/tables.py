"""CSV tables that a spreadsheet opens as text: one writer and one reader for all of them.

A spreadsheet takes a cell that begins with `= + - @`, their wide forms or a control character as a formula.
Formulas can run commands or send the table away (OWASP, CSV Injection). Names of files, classes and patients
come from other people. So the writer puts an apostrophe before such text, and the reader takes it away.
"""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, TextIO

from covid_monai.core.atomic_files import write_text_atomically

# Text may begin with a letter, a digit or one of these, after spaces too. Anything else is quoted: marks that
# are not shown, and all signs that some program reads as `=` or `-`. Many spreadsheets split at a semicolon,
# which csv does not quote, so the same holds after each separator inside a cell. Apostrophes that were there
# already count as part of what they quote: otherwise two texts would be written alike.
_FORMULA = r"'*+ *+[^\w ./\\(\[{}\])<>#&%!?~^*$:`,;]"
_BEGINNING = r"(?:\A|(?<=[;\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]))"
_TO_QUOTE = re.compile(f"{_BEGINNING}(?={_FORMULA})")
_QUOTED = re.compile(f"{_BEGINNING}'(?={_FORMULA})")


def quote_cell(value: object) -> object:
    """Return text that no spreadsheet takes as a formula; numbers and None stay what they are.

    >>> [quote_cell(value) for value in ("=1+1", "a;-b", "normal", -0.5)]
    ["'=1+1", "a;'-b", 'normal', -0.5]
    """
    return value if value is None or isinstance(value, Real) else _TO_QUOTE.sub("'", str(value))


def unquote_cell(text: str) -> str:
    """Return the text that `quote_cell` was given.

    >>> unquote_cell("'=1+1"), unquote_cell("'quoted'")
    ('=1+1', "'quoted'")
    """
    return _QUOTED.sub("", text)


def table_writer(file: TextIO, *, delimiter: str = ",") -> Callable[[Iterable[object]], Any]:
    """Return a function that writes one row, with line ends as in RFC 4180."""
    # csv quotes line ends only where they are its own, hence no other line terminator.
    writer = csv.writer(file, delimiter=delimiter)
    return lambda cells: writer.writerow(map(quote_cell, cells))


def write_table(path: Path, header: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a table as UTF-8 in one step; an empty header is left out."""
    text = io.StringIO(newline="")
    write = table_writer(text)
    for row in (header, *rows) if header else rows:
        write(row)
    write_text_atomically(path, text.getvalue())


def read_rows(
    file: Iterable[str], *, path: Path, delimiter: str = ",", strip: bool = False
) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of the last line and the cells of each row, the header included.

    Args:
        file: Text that was opened or decoded with `newline=""`.
        path: Name of the table for errors.
        delimiter: Separator of the cells.
        strip: Whether spaces around a cell are removed. Those that `quote_cell` has quoted stay.

    Raises:
        ValueError: If quotes or line ends are damaged; the message names the line.
    """
    reader = csv.reader(file, delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            yield reader.line_num, [unquote_cell(cell.strip() if strip else cell) for cell in cells]
    except csv.Error as error:
        where = f"{path}, line {reader.line_num}"
        raise ValueError(f"{where}: the quotes or line ends are damaged ({error}). Save it again.") from error
