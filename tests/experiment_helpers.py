"""Records of a datalist, as the tests of experiments need them."""


def image(index: int, **known) -> dict:
    """Return a record of its own patient, with other values where they are given."""
    return {
        "image": f"train/{index:03}.png",
        "class": "normal",
        "label": 0,
        "source": "a",
        "patient": str(index),
    } | known
