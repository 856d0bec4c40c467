"""Put the bundles of `bundles/`, which is their only source, into the wheel."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithBundles(build_py):
    """Build the package, and copy the bundles to `covid_monai/bundles`."""

    def run(self) -> None:
        """Build."""
        super().run()
        bundles = Path(__file__).parent / "bundles"
        if not self.editable_mode and bundles.is_dir():  # a clone has them beside the package
            shutil.copytree(
                bundles,
                Path(self.build_lib) / "covid_monai" / "bundles",
                ignore=shutil.ignore_patterns("__pycache__", "eval"),
                dirs_exist_ok=True,
            )


setup(cmdclass={"build_py": BuildWithBundles})
