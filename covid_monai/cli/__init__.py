"""The commands of `covid-monai`: parse, call one function, set the exit code.

Nothing heavy is imported before a command runs, so that `--help` and mistakes answer at once.
"""


def examples(*commands: str) -> str:
    """The end of a help page: commands to type as they stand."""
    return "\n".join(["Examples:", *commands])
