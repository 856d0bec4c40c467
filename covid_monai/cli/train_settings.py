"""Settings of train.yaml on the command line: `--set NAME=VALUE`, and the completion of their names."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from covid_monai.bundle.shipped import shipped_bundle
from covid_monai.core.errors import unknown_choice


def complete_setting(incomplete: str) -> list[str]:
    """Complete the name of a setting of train.yaml."""
    names = setting_names(shipped_bundle() / "configs" / "train.yaml")
    return [f"{name}=" for name in names if name.startswith(incomplete)]


def setting_names(train_config: Path) -> list[str]:
    """Return the names of the settings of train.yaml in its order."""
    import yaml

    return list(yaml.safe_load(train_config.read_text(encoding="utf-8")))


def parse_settings(words: Sequence[str] | None, train_config: Path) -> dict[str, Any]:
    """Return the settings of words such as "max_epochs=1".

    Raises:
        ValueError: A word has no value, train.yaml has no setting of that name, or a value would be code.
    """
    import yaml

    from covid_monai.bundle.config_editing import quote_data

    pairs = [word.partition("=") for word in words or ()]
    known = setting_names(train_config)
    for name, equals, _ in pairs:
        if not equals or not name:
            raise ValueError(f"--set {name}: give NAME=VALUE, such as max_epochs=1.")
        # Other names are parts of a section, such as loss#weight.
        if name.isidentifier() and name not in known:
            raise ValueError(f"--set: {unknown_choice('train.yaml setting', name, known)}")
    settings = {name: yaml.safe_load(value) for name, _, value in pairs}
    quote_data([*settings.values()])  # refuses a part of a config now, not when the data are prepared
    return settings
