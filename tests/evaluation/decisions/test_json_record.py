"""Settings stored as JSON: whole, equal after loading, and refused by name where they are damaged."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import pytest

from covid_monai.evaluation.decisions.json_record import JsonRecord


@dataclass(frozen=True)
class Sizes(JsonRecord):
    name: str
    sizes: tuple[int, ...]

    @classmethod
    def _from_values(cls, values: Mapping[str, Any]) -> Self:
        if values["name"] == "":
            raise ValueError("The name is empty.")
        return cls(values["name"], tuple(int(size) for size in values["sizes"]))


def test_a_saved_record_loads_equal(tmp_path):
    record = Sizes("ü", (1, 2))
    assert record.to_json() == {"name": "ü", "sizes": [1, 2]}
    record.save(tmp_path / "new" / "r.json")
    assert Sizes.load(tmp_path / "new" / "r.json") == record
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["r.json"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "r.json cannot be used"),
        ("{", "r.json cannot be used"),
        pytest.param('{"a":' * 10**5, "r.json cannot be used", id="deep"),
        ("[1]", "This is no Sizes: .*wrong kind"),
        ('{"name": "a"}', r"This is no Sizes: .*KeyError: 'sizes'"),
        ('{"name": "a", "sizes": 3}', "This is no Sizes: .*TypeError"),
        ('{"name": "", "sizes": []}', r"r\.json cannot be used: The name is empty\. Restore the file"),
    ],
)
def test_a_damaged_file_is_named_with_the_way_out(tmp_path, text, message):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        Sizes.load(tmp_path / "r.json")
    assert str(caught.value).endswith("Restore the file, or train again.")


def test_a_missing_file_and_a_value_that_json_lacks_are_errors(tmp_path):
    with pytest.raises(FileNotFoundError):
        Sizes.load(tmp_path / "r.json")
    with pytest.raises(ValueError, match="not JSON compliant"):
        Sizes(float("nan"), ()).save(tmp_path / "r.json")
    assert not list(tmp_path.iterdir())
