"""The words of all options stand in one table, and each of them is on a help page."""

import re
import tomllib
from pathlib import Path

import covid_monai.cli

FOLDER = Path(covid_monai.cli.__file__).parent


def test_every_entry_of_the_table_is_used_and_says_what_it_is():
    table = tomllib.loads((FOLDER / "options.toml").read_text("utf-8"))
    code = "".join(path.read_text("utf-8") for path in FOLDER.glob("*.py"))
    used = re.findall(r'(?:option|argument)\(\s*"([\w.]+)"', code)
    assert sorted({f"{command}.{name}" for command in table for name in table[command]}) == sorted(used)
    assert all(words["help"] for command in table.values() for words in command.values())
