"""Texts that MONAI, YAML or Python would take for more than text."""

from hypothesis import strategies as st

CODE = [
    *("$open('x','w')", "$__import__('os').system('touch x')", "$import this", "__import__", "$@data", "$"),
    *("@data", "@", "@::data", "@#data", "@bundle::root", "%data", "%x", "%configs/train.yaml::seed", "%"),
    *("a#b", "#", "a::b", "_target_", "os.system", "_disabled_", "_requires_", "+key", "~key", "null", "no"),
    *(
        "1e3",
        "!!python/name:os.system",
        "&a",
        "*a",
        "- x",
        "{}",
        "[]",
        "{{x}}",
        "'",
        '"',
        "\\",
        "\n",
        "a else b",
    ),
]
# A text of pieces of code and of any other characters.
texts = st.lists(st.sampled_from(CODE) | st.text(max_size=4), max_size=4).map("".join) | st.sampled_from(CODE)
# Linux forbids only these in the name of a file.
file_names = texts.map(lambda text: text.replace("/", "_").replace("\0", "_")[:60]).filter(
    lambda text: text not in ("", ".", "..")
)
