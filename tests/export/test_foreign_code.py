"""Code in exported bundles: found by name, and networks that do more than compute are not loaded."""

import io
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from monai.networks.utils import convert_to_torchscript
from strange_bundles import IGNORED, REFUSED, code, edit

from covid_monai.bundle.bundle_zip import ArchiveError
from covid_monai.bundle.shipped import shipped_bundle
from covid_monai.export.foreign_code import find_code, load_torchscript, read_onnx
from covid_monai.networks import build_network
from covid_monai.networks.build import NETWORK_NAMES


@pytest.fixture
def root(tmp_path):
    return shutil.copytree(shipped_bundle(), tmp_path / "bundle")


def test_our_own_bundles_hold_no_foreign_code(root):
    from covid_monai.bundle import Bundle

    assert find_code(root) == []
    run = Bundle(root, class_names=["a", "b"], image_size=64, network_name="resnet10")
    assert find_code(run.copy_to(root.parent / "o'brien #1").root) == []


# What our commands refuse although it is no expression and no name of a part.
_NO_CODE = {
    *(
        "a bundle that trusts",
        "no reader",
        "null for a reader",
        "a debug key",
        "a reference to a function",
        "a relative reference",
    ),
    *("weights from a path", "weights from the internet", "weights from a list"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in [*REFUSED, *IGNORED] if name != "nothing"])
def test_expressions_and_parts_of_strangers_are_named(name, root, tmp_path):
    change = {**REFUSED, **IGNORED}[name]
    edit(root / "configs" / "inference.yaml", lambda config: change(config, tmp_path / "canary"))
    found = find_code(root)
    if name not in _NO_CODE:
        assert found
    assert all(line.startswith("configs/inference.yaml: ") for line in found)
    assert not (tmp_path / "canary").exists()


def test_other_files_are_named_too(root, tmp_path):
    (root / "configs" / "logging.conf").write_text("[handlers]\nargs=(open('x', 'w'),)\n")
    (root / "configs" / "more.yml").write_text("x: '$1 + 1'\ny: {_target_: os.system}\n")
    (root / "configs" / "bad.json").write_text("{")
    (root / "configs" / "run.py").write_text("")
    (root / "wheels").mkdir()
    (root / "wheels" / "torch-9-py3-none-any.whl").touch()
    (root / "wheels" / "covid_monai-1-py3-none-any.whl").touch()
    found = find_code(root)
    assert [line for line in found if "bad.json" not in line] == [
        "configs/logging.conf: not a file of this package",
        "configs/more.yml: x is '$1 + 1'",
        "configs/more.yml: y::_target_ is 'os.system'",
        "configs/run.py: not a file of this package",
        "wheels/torch-9-py3-none-any.whl",
    ]
    edit(root / "configs" / "evaluate.yaml", lambda config: config.update(bundle_root=code(tmp_path / "x")))
    assert any("bundle_root is" in line for line in find_code(root))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*NETWORK_NAMES[:1], "resnet10", "resnet50", "efficientnet_lite0"])
def test_the_networks_of_this_package_are_loaded_and_give_the_same(name, tmp_path):
    network, images = build_network(name, num_classes=2).eval(), torch.rand(2, 1, 64, 64)
    traced = convert_to_torchscript(network, inputs=[images], use_trace=True)
    traced.save(str(tmp_path / "a.ts"))
    with torch.inference_mode():
        assert torch.equal(load_torchscript(tmp_path / "a.ts")(images), traced(images))


class _Saves(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.save(x, "canary")
        return x


class _Reads(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.from_file("canary", True, 4, dtype=torch.float32)


class _RunsWhenLoaded(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x

    @torch.jit.export
    def __getstate__(self) -> bool:
        return self.training

    @torch.jit.export
    def __setstate__(self, state: bool) -> None:
        torch.save(torch.zeros(1), "canary")
        self.training = state


@pytest.mark.parametrize("kind", [_Saves, _Reads, _RunsWhenLoaded])
def test_torchscript_that_does_more_than_compute_is_not_loaded(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.jit.script(kind()).save("model.ts")
    with pytest.raises(ArchiveError, match=r"model\.ts holds code that is no layer of a network"):
        load_torchscript(Path("model.ts"))
    assert not Path("canary").exists()


@pytest.mark.parametrize(
    "line",
    [
        "(x.save)('a')",
        "_0 = (x.save)(f)",
        "_0 = x.save(f)",
        "_0 = x . save (f)",
        "_0 = [x.save][0](f)",
        '_0 = getattr(x, "save")(f)',
        "_0 = f(x)",
        "while True:\n      x = x",
        "for _0 in x:\n      x = x",
        "_0 = torch\n    _0.save",
        "_0 = torch.save(x, f)",
        "_0 = torch . save(x, f)",
        "_0 = torch.add\n(x, f)",
        "_0 = torch.add.save(x, f)",
        "_0 = ops.aten.save(x, f)",
        "_0 = ops.prim.NumToTensor.save(x)",
        "_0 = __torch__.torch.save(x)",
        "_0 = x.forward.save(f)",
        "# a remark",
        "_0 = 'text'",
        '_0 = "a b"',
        "_0 = x \\\n(f)",
        "def __setstate__(self):",
        "@decorated",
        "_0 = x + f",
        "_0 = \uff54orch.save(x, f)",
    ],
)
def test_no_other_spelling_gets_through(line, tmp_path):
    network = torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2))
    network.save(str(tmp_path / "a.ts"))
    with zipfile.ZipFile(tmp_path / "a.ts") as old, zipfile.ZipFile(tmp_path / "b.ts", "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith(".py"):
                content += f"    {line}\n".encode()
            new.writestr(name, content)
    load_torchscript(tmp_path / "a.ts")
    with pytest.raises(ArchiveError, match="no layer of a network"):
        load_torchscript(tmp_path / "b.ts")


def _model(onnx, *, domain="", operation="Add", external=False):
    helper = onnx.helper
    tensor = helper.make_tensor("w", onnx.TensorProto.FLOAT, [1], [1.0])
    if external:
        tensor.ClearField("float_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="../../secret")
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in ("image", "pred")]
    strange = helper.make_node(operation, ["image", "w"], ["a"], domain=domain)
    inner = helper.make_graph([strange], "g", [], [])
    node = helper.make_node("If", ["c"], ["pred"], then_branch=inner, else_branch=inner)
    return helper.make_model(helper.make_graph([node], "g", ends[:1], ends[1:], initializer=[tensor]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, None),
        ({"domain": "com.microsoft"}, "operation 'com.microsoft.Add', which no exported"),
        ({"operation": "Loop"}, "operation 'Loop', which no exported network has"),
        ({"external": True}, "takes numbers from another file"),
    ],
)
def test_onnx_files_use_no_other_files_and_no_other_operations(settings, message, tmp_path):
    onnx = pytest.importorskip("onnx")
    content = _model(onnx, **settings).SerializeToString()
    (tmp_path / "model.onnx").write_bytes(content)
    if message is None:
        assert read_onnx(tmp_path / "model.onnx") == content
    else:
        with pytest.raises(ArchiveError, match=message):
            read_onnx(tmp_path / "model.onnx")


def test_what_zipfile_does_not_see_is_not_loaded(tmp_path):
    """A file in front of the archive that another reader might take for it."""
    buffer = io.BytesIO()
    torch.jit.script(_RunsWhenLoaded()).save(str(tmp_path / "bad.ts"))
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), buffer)
    (tmp_path / "both.ts").write_bytes((tmp_path / "bad.ts").read_bytes() + buffer.getvalue())
    network = load_torchscript(tmp_path / "both.ts")
    assert network(torch.zeros(1, 2)).shape == (1, 2)
    assert not Path("canary").exists()
