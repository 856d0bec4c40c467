"""Changes to a bundle that make it run code where its YAML is read by MONAI."""

import json
from pathlib import Path

import yaml


def code(canary: Path) -> str:
    """An expression that leaves a file if anything evaluates it."""
    return f"$__import__('pathlib').Path({str(canary)!r}).touch()"


def edit(path: Path, change) -> None:
    """Apply a function to the content of a YAML or JSON file."""
    content = json.loads(path.read_text()) if path.suffix == ".json" else yaml.safe_load(path.read_text())
    change(content)
    path.write_text(
        json.dumps(content) if path.suffix == ".json" else yaml.safe_dump(content, sort_keys=False)
    )


def steps(config: dict) -> list:
    return config["preprocessing"]["transforms"]


def _call(function: str, *, where: str = "step"):
    """A part that calls a function with the name of the canary."""

    def change(config, canary):
        argument = {"os.system": "command", "builtins.open": "file", "pathlib.Path.touch": "self"}[function]
        text = f"touch {canary}" if argument == "command" else str(canary)
        part = {"_target_": function, argument: text, **({"mode": "w"} if argument == "file" else {})}
        if where == "step":
            steps(config).insert(0, part)
        elif where == "argument":
            steps(config)[1]["spatial_size"] = [part]
        else:
            config[where] = part

    return change


def _set(place, key, make=code):
    def change(config, canary):
        place(config)[key] = make(canary)

    return change


def _step(number):
    return lambda config: steps(config)[number]


def _lambda(canary):
    return {"_target_": "Lambdad", "keys": "image", "func": code(canary)}


def _nothing(config, canary):
    pass


# Each runs code where MONAI reads it; here each is refused by name.
REFUSED = {
    "the section": _set(lambda config: config, "preprocessing"),
    "all steps": _set(lambda config: config["preprocessing"], "transforms"),
    "a step": lambda config, canary: steps(config).append(code(canary)),
    "an argument": _set(_step(0), "keys"),
    "a size": _set(_step(1), "spatial_size"),
    "a nested list": _set(_step(1), "spatial_size", lambda canary: [[code(canary)], 3]),
    "a number": _set(_step(3), "divisor"),
    "a dtype": _set(_step(3), "dtype"),
    "a reader": _set(_step(0), "reader"),
    "a reader by name": _set(_step(0), "reader", lambda _: "os.system"),
    "readers by name": _set(
        _step(0), "reader", lambda _: ["covid_monai.readers.RadiographReader", "os.system"]
    ),
    "MONAI's reader that unpickles": _set(_step(0), "reader", lambda _: "NumpyReader"),
    "no reader": lambda config, _: steps(config)[0].pop("reader"),
    "null for a reader": _set(_step(0), "reader", lambda _: None),
    "a target": _set(_step(0), "_target_"),
    "os.system": _call("os.system"),
    "builtins.open": _call("builtins.open"),
    "open as an argument": _call("builtins.open", where="argument"),
    "pathlib.Path.touch": _call("pathlib.Path.touch"),
    "a callable": lambda config, _: steps(config)[0].update(_mode_="callable"),
    "the debugger": lambda config, _: steps(config)[0].update(_mode_="debug"),
    "requires": _set(_step(0), "_requires_"),
    "requires in a list": _set(_step(0), "_requires_", lambda canary: [code(canary)]),
    "disabled": _set(_step(0), "_disabled_"),
    "a debug key": _set(_step(0), "_debug_", lambda _: True),
    "a macro": _set(_step(0), "keys", lambda canary: f"%{canary}::x"),
    "a reference to a function": _set(_step(0), "keys", lambda _: "@__import__('os')"),
    "a reference to code": lambda config, canary: (
        config.update(x=code(canary)),
        steps(config)[0].update(keys="@x"),
    ),
    "a nested reference to code": lambda config, canary: (
        config.update(x={"y": [code(canary)]}),
        steps(config)[0].update(keys="@x#y#0"),
    ),
    "a relative reference": _set(_step(0), "keys", lambda _: "@##x"),
    "Lambdad": lambda config, canary: steps(config).append(_lambda(canary)),
    "a key": lambda config, canary: steps(config)[0].update({code(canary): 1}),
    "SaveImaged": lambda config, canary: steps(config).append(
        {"_target_": "SaveImaged", "keys": "image", "output_dir": str(canary)}
    ),
    "a writer by name": lambda config, _: steps(config).append(
        {"_target_": "SaveImage", "writer": "os.system"}
    ),
    "a bundle that trusts": lambda config, _: steps(config).append(
        {"_target_": "covid_monai.bundle.Bundle", "root": ".", "trust_code": True}
    ),
    "an overlay": lambda config, canary: config.update({"+preprocessing": {"x": code(canary)}}),
    "a change from outside": lambda config, canary: config.update(
        {"preprocessing::transforms::0::keys": code(canary)}
    ),
    "a removal": lambda config, canary: config.update({"~dataset": code(canary)}),
    "a class name": lambda config, _: config["class_names"].__setitem__(0, "$open('x','w')"),
    "class names": _set(lambda config: config, "class_names"),
    "the size of the image": _set(lambda config: config, "image_size"),
    "the name of the network": _set(lambda config: config, "network_name"),
    "the network": _set(lambda config: config, "network_def"),
    "the target of the network": _set(lambda config: config["network_def"], "_target_"),
    "os.system as network": _call("os.system", where="network_def"),
    "the number of classes": _set(lambda config: config["network_def"], "num_classes"),
    "a lambda network": _set(lambda config: config["network_def"], "name"),
    "weights from a path": lambda config, _: config.update(
        network_def={"_target_": "resnet10", "pretrained": "x.pt"}
    ),
    "weights from the internet": lambda config, _: config.update(
        network_def={"_target_": "EfficientNetBN", "model_name": "efficientnet-b0", "spatial_dims": 2}
    ),
    "weights from a list": lambda config, _: config.update(
        network_def={"_target_": "resnet10", "pretrained": [False]}
    ),
}
# Each is code for MONAI in a section that prediction does not use: it is not even looked at.
IGNORED = {
    "nothing": _nothing,
    "imports": lambda config, canary: config["imports"].append(code(canary)),
    "postprocessing": _set(lambda config: config, "postprocessing"),
    "run": _set(lambda config: config, "run"),
    "initialize": lambda config, canary: config["initialize"].insert(0, code(canary)),
    "a section of its own": lambda config, canary: config.update(more={"a": [code(canary)]}),
    "dataset_dir": _set(lambda config: config, "dataset_dir"),
}
_BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)
# Text at the end of inference.yaml, with a part of the message.
TEXT = {
    "!!python/object/apply": ('x: !!python/object/apply:os.system ["touch {canary}"]', "python/object"),
    "!!python/name": ("x: !!python/name:os.system", "python/name"),
    "!!python/module": ("x: !!python/module:antigravity", "python/module"),
    "an own tag": ("x: !run [1]", "!run"),
    "aliases": (_BOMB, "alias"),
    "merged aliases": ("m: &m {{a: 1}}\nn: {{<<: [*m, *m]}}", "alias"),
    "the same key twice": ("preprocessing: 1", "occurs twice"),
    "depth": ("x: " + "[" * 500 + "]" * 500, "levels"),
    "size": ("# " + "x" * 2**20, "larger than 1 MiB"),
    "a number without end": ("x: " + "9" * 5000, "cannot be read"),
    "no text": ("x: \0", "cannot be read"),
}
