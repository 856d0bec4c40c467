"""An empty cache of converted networks, and a small bundle."""

import pytest
from backend_helpers import small_bundle


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("COVID_MONAI_CACHE", str(folder))
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return small_bundle(tmp_path_factory.mktemp("bundle"))
