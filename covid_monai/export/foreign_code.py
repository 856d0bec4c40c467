"""What in an exported bundle is code that this package did not write: found, named and never run.

TorchScript and ONNX are programs as well. TorchScript can write files (`aten::save`), ONNX can name other
files, and both are loaded only if they hold nothing but the layers of a network.
"""

import io
import re
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from covid_monai.bundle.bundle_zip import ArchiveError
from covid_monai.bundle.safe_config import ALLOWED_PARTS, READERS, ConfigError, read_config, shorten
from covid_monai.bundle.shipped import LUNG_BUNDLE, SHIPPED_BUNDLE, shipped_config

_KEY = "key of "
_LOOKED_UP = re.compile(r"::(_target_|_mode_|reader|writer)(::\d+)?$")  # text that MONAI makes an object of
_LOGGING = "logging.conf"
# Where the bundle lies: `set_bundle_root` writes the path.
_BUNDLE_ROOT = re.compile(
    r"\$'\.' if os\.path\.isfile\('configs/metadata\.json'\) else '(?:[\w/. -]|\\U[0-9a-f]{8})*'"
)
_OPERATIONS = (
    *("_convolution", "adaptive_avg_pool2d", "add", "add_", "avg_pool2d", "batch_norm", "cat", "dropout"),
    *("flatten", "hardtanh", "hardtanh_", "linear", "max_pool2d", "mul", "pad", "relu", "relu_", "sigmoid"),
    *("silu", "silu_", "size", "view"),
)
# Everything that may stand before a bracket in the code of a network that was traced.
_ALLOWED_CALLS = re.compile(
    rf"\bclass \w+\(|(?:\bdef |\)\.)forward\d*\(|(?<![\w.])torch\.(?:{'|'.join(_OPERATIONS)})\("
    r"|(?<![\w.])ops\.prim\.NumToTensor\(|(?<![\w.])(?:getattr|int|return )\(",
    re.ASCII,
)
_OTHER_CODE = re.compile(r"[\w)\]]\s*\(|(?<![\w.])(?:torch|ops|while|for)\b|[^\w\s.,:=>()\[\]-]", re.ASCII)
_TEXT = re.compile(r'"[\w.-]*"', re.ASCII)
_TORCHSCRIPT_FILES = re.compile(
    r"[^/]+/(code/[\w/.]+\.py|(data|constants)(\.pkl|/\d+)|version|byteorder|\.data/version)"
)


def find_code(root: Path) -> list[str]:
    """Name each expression and part in the configs of a bundle that the shipped bundle does not have.

    MONAI's own commands would run it; the commands of this package do so only with `--trust-code`.
    """
    known = _known_code()
    found = []
    for path in sorted(path for path in (root / "configs").rglob("*") if path.is_file()):
        name = path.relative_to(root).as_posix()
        if path.suffix in (".yaml", ".yml", ".json"):
            try:
                found += [f"{name}: {line}" for line in _code_in(read_config(path), known)]
            except ConfigError as error:
                found.append(f"{name}: {str(error).removeprefix(str(path)).lstrip(': ')}")
        elif path.name != _LOGGING or path.read_bytes() not in known:
            found.append(f"{name}: not a file of this package")
    wheels = (root / "wheels").glob("*.whl")
    return found + [f"wheels/{path.name}" for path in wheels if not path.name.startswith("covid_monai-")]


def _known_code() -> set[str | bytes]:
    """Return the expressions and parts of the shipped bundles; none of one that is not here."""
    known: set[str | bytes] = {
        f"{module}.{name}" for module in ALLOWED_PARTS for name in ALLOWED_PARTS[module]
    }
    known |= {*READERS} | {name for names in ALLOWED_PARTS.values() for name in names}
    for bundle in (SHIPPED_BUNDLE, LUNG_BUNDLE):
        with suppress(FileNotFoundError):
            configs = shipped_config("inference.yaml", bundle).parent
            known.add((configs / _LOGGING).read_bytes())
            for path in configs.glob("*.yaml"):
                known |= {value for _, value in _texts(read_config(path), "")}
    return known


def _code_in(config: Any, known: set[str | bytes]) -> Iterator[str]:
    for item_id, value in _texts(config, ""):
        is_key = item_id.startswith(_KEY)
        runs = value[:1] in ("$", "%") or _LOOKED_UP.search(item_id) or (is_key and value[:1] in ("+", "~"))
        if runs and value not in known and not (item_id == "bundle_root" and _BUNDLE_ROOT.fullmatch(value)):
            yield f"{shorten(item_id)[1:-1]} is {shorten(value)}"


def _texts(value: Any, item_id: str) -> Iterator[tuple[str, str]]:
    """Yield all text of a config with its place; also the keys, which MONAI may take for commands."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield f"{_KEY}{item_id or 'the file'}", str(key)
            yield from _texts(item, f"{item_id}::{key}".removeprefix("::"))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _texts(item, f"{item_id}::{number}")
    elif isinstance(value, str):
        yield item_id, value


def load_torchscript(path: Path, *, trust_code: bool = False) -> torch.jit.ScriptModule:
    """Load a traced network; `ArchiveError` if its code does more than the layers of a network do.

    With `trust_code`, such as for the export of a user's own network, any code is loaded.
    """
    checked = io.BytesIO()  # a copy, because torch might find other files in the archive than zipfile does
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(checked, "w", zipfile.ZIP_STORED) as new:
        for name in filter(_TORCHSCRIPT_FILES.fullmatch, sorted(set(old.namelist()))):
            content = old.read(name)
            if name.endswith(".py") and not trust_code:
                _check_torchscript(content.decode("ascii", "replace"), path)
            new.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), content)
    checked.seek(0)
    network: torch.jit.ScriptModule = torch.jit.load(checked, map_location="cpu").eval()
    return network


def _check_torchscript(code: str, path: Path) -> None:
    rest = _TEXT.sub("=", _ALLOWED_CALLS.sub("=(", code))
    if found := _OTHER_CODE.search(rest):
        line = code.splitlines()[rest[: found.start() + 1].count("\n")].strip()
        raise ArchiveError(
            f"{path} holds code that is no layer of a network, {shorten(line)}. It was not "
            "loaded. Export the bundle again."
        )


def read_onnx(path: Path) -> bytes:
    """Read an ONNX file; `ArchiveError` if it names other files, repeats, or is more than ONNX itself."""
    import onnx

    content = path.read_bytes()
    for message in _messages(onnx.load_model_from_string(content)):
        if isinstance(message, onnx.TensorProto) and message.data_location == onnx.TensorProto.EXTERNAL:
            raise ArchiveError(f"{path} takes numbers from another file. Export the bundle again.")
        if isinstance(message, onnx.NodeProto) and (
            message.domain not in ("", "ai.onnx") or message.op_type in ("Loop", "Scan")  # may never end
        ):
            name = shorten(f"{message.domain}.{message.op_type}".lstrip("."))
            raise ArchiveError(
                f"{path} has the operation {name}, which no exported network has. Export the bundle again."
            )
    return content


def _messages(message: Any) -> Iterator[Any]:
    """Yield a message of protobuf and all messages in it."""
    waiting = [message]
    while waiting:
        yield (message := waiting.pop())
        for field, value in message.ListFields():
            if field.message_type is not None:
                repeated = not hasattr(value, "ListFields")
                waiting += [*value] if repeated else [value]
