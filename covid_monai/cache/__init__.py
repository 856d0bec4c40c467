"""Films decoded once: their preprocessed pixels on disk, shared by runs and processes."""

from covid_monai.cache.films import CachedFilms, FilmCache

__all__ = ["CachedFilms", "FilmCache"]
