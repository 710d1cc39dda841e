"""Arrows between modules go one way; only one folder imports wgpu; importing the package is light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = [  # from the bottom; a module imports only from layers below its own, or from its own
    [
        "wgpu_infer.errors",
        "wgpu_infer.checks",
        "wgpu_infer.kept",
        "wgpu_infer.__version__",
        "cpu_fallback",
        "wgpu_infer.formats",
        "wgpu_infer.contracts",
        "wgpu_infer.shaders",
    ],
    ["wgpu_infer.backends"],
    [
        "wgpu_infer.models",
        "wgpu_infer.scheduler",
        "wgpu_infer.calibration",
        "wgpu_infer.profile",
        "wgpu_infer.sampling",
        "wgpu_infer.tokenizer",
    ],
    ["wgpu_infer.engine"],
    ["wgpu_infer.llm", "wgpu_infer.ops"],
    [
        "wgpu_infer.__main__",
        "wgpu_infer.generate",
        "wgpu_infer.cli",
        "wgpu_infer.doctor",
        "wgpu_infer.terminal",
        "wgpu_infer.inspect",
    ],
]
FILES = sorted([*(ROOT / "wgpu_infer").rglob("*.py"), *(ROOT / "cpu_fallback").rglob("*.py")])


def layer_of(module: str) -> int | None:
    for level, names in enumerate(LAYERS):
        if any(module == name or module.startswith(name + ".") for name in names):
            return level
    return None


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_arrows_go_one_way(path):
    module = name_of(path)
    if module == "wgpu_infer":
        return  # the public API names what lies in all layers, lazily
    level = layer_of(module)
    assert level is not None, f"{module} belongs to no layer; add it to LAYERS"
    for imported in imports_of(path):
        top = imported.split(".")[0]
        if top in ("wgpu_infer", "cpu_fallback"):
            target = layer_of(imported)
            assert target is not None and target <= level, f"{module} imports {imported}, which lies above it"
        if top == "wgpu":
            assert module.startswith("wgpu_infer.backends.webgpu"), f"{module} imports wgpu"
        if module.startswith("cpu_fallback"):
            allowed = top in sys.stdlib_module_names or top in ("numpy", "numba", "llvmlite", "cpu_fallback")
            assert allowed, f"{module} imports {imported}"
        assert not (top == "wgpu_infer" and imported.split(".")[1:2] == [""])


HEAVY = ("wgpu", "numba", "torch", "tokenizers", "jinja2", "tqdm", "click", "numpy")


def test_import_is_light():
    code = f"import sys, wgpu_infer; print([m for m in {HEAVY!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert out.stdout.strip() == "[]"


def test_public_names_resolve():
    import wgpu_infer

    assert set(wgpu_infer.__all__) <= set(dir(wgpu_infer)), "a notebook completes names before they are imported"
    assert all(getattr(wgpu_infer, name) is not None for name in wgpu_infer.__all__)
    with pytest.raises(AttributeError):
        wgpu_infer.no_such_name  # noqa: B018
