"""Switches as they arrive from a config or from the command line."""


def as_flag(value: bool | str) -> bool:
    """A switch as a bool: the command line of `monai.bundle` hands `false` over as text, which is true.

    Raises:
        ValueError: If it is neither a bool nor the word "true" or "false".

    >>> as_flag("False"), as_flag(True)
    (False, True)
    """
    words = {"true": True, "false": False}
    if isinstance(value, bool):
        return value
    if str(value).lower() not in words:
        raise ValueError(f"expected true or false; found {value!r}")
    return words[str(value).lower()]
