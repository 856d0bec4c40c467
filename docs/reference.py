"""Griffe extension: doctests are shown as code, and every object once, in the module that defines it."""

import re
from typing import Any

from griffe import Extension, Module, Object

_DOCTEST = re.compile(r"^>>> .*(?:\n.+)*", re.MULTILINE)


class AsWritten(Extension):
    """Fences around doctests; no second copy of what a package exports from its modules."""

    def on_instance(self, *, obj: Object, **_: Any) -> None:
        """See `griffe.Extension.on_instance`."""
        if obj.docstring and not obj.is_alias:
            obj.docstring.value = _DOCTEST.sub(
                lambda found: f"```pycon\n{found[0]}\n```", obj.docstring.value
            )

    def on_package(self, *, pkg: Module, **_: Any) -> None:
        """See `griffe.Extension.on_package`."""
        waiting = [pkg]
        while waiting:
            module = waiting.pop()
            module.exports = None
            waiting += [part for part in module.modules.values() if not part.is_alias]
