"""An empty cache of converted networks."""

import pytest


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("COVID_MONAI_CACHE", str(folder))
    return folder
