"""Films decoded once: their preprocessed pixels on disk, shared by runs and processes."""

from covid_monai.cache.films import FilmCache
from covid_monai.cache.opened import CachedFilms

__all__ = ["CachedFilms", "FilmCache"]
