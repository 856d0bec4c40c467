"""Words of the command line that select classes."""

import pytest

from covid_monai.datasets.selection import parse_classes


@pytest.mark.parametrize("text", ["", "a,", "a=,b", "a,b=a+c", "=a"])
def test_class_words_that_say_nothing_are_refused(text):
    with pytest.raises(ValueError, match="Write them like"):
        parse_classes(text)
