"""Shaders against the contract: bindings, parameters, and that naga accepts every assembly of them."""

from __future__ import annotations

import dataclasses
import math
import re

import numpy as np
import pytest

from wgpu_infer.backends.webgpu import shader, variants, wgsl
from wgpu_infer.backends.webgpu.adapters import KIND_ORDER, AdapterInfo, choose, subgroups_of
from wgpu_infer.backends.webgpu.backend import WebGPUBackend, accesses_of
from wgpu_infer.backends.webgpu.caps import WEBGPU_MINIMUM, Caps, caps_of
from wgpu_infer.backends.webgpu.pack import LAYOUTS, is_dense
from wgpu_infer.backends.webgpu.resources import TEXEL, WIDTH, rectangles
from wgpu_infer.backends.webgpu.tuning import describe
from wgpu_infer.backends.webgpu.vendors import IDS, NAMES, VENDORS, vendor_of
from wgpu_infer.contracts.contract import PARAMS_BYTES, lower_webgpu
from wgpu_infer.contracts.host import KV_DTYPES
from wgpu_infer.contracts.table import OPS
from wgpu_infer.errors import DeviceError, ParameterError, UnsupportedError

SHADER_OPS = [op for op in OPS.values() if shader.path_of(op.name).is_file()]
CAPS = (Caps(), Caps(subgroups=True, f16=True), Caps("software", subgroups=True, textures=True, subgroup_min=8))
VENDOR_CAPS = tuple(Caps(vendor=vendor) for vendor in VENDORS)
MOST_FORMATS = ("Q4_0", "f16")  # that stand for all where formats make no difference
ALL_FILES = sorted(shader.shader_root().rglob("*.wgsl"))


def formats_of(op):
    if op.weight is not None:
        return [fmt for fmt in LAYOUTS if not (op.name.endswith("_act8") and is_dense(fmt))]
    return list(KV_DTYPES) if any(o.kind == "kv" for o in op.operands) else [None]


def all_assemblies():
    """Every module that some call can ask for: op × format × capabilities × the ends of its variants; other vendors'
    with one format."""
    for op in SHADER_OPS:
        few, many = (dict.fromkeys(op.param_names(), n) for n in (1, 4096))
        whole = few | ({"cols": 256} if "cols" in few else {})
        for fmt in formats_of(op):
            modules = {
                shader.module_of(variant, fmt, caps): caps
                for caps in (CAPS if fmt not in (*MOST_FORMATS, None) else CAPS + VENDOR_CAPS)
                for params in (few, whole, many)
                for variant in variants.candidates(op, fmt, params, caps)
            }
            for module, caps in sorted(modules.items(), key=str):
                sizes = "-".join(str(value) for _, value in module.constants)
                yield pytest.param(op, module, caps, id=f"{op.name}-{module.name}-{fmt}-{caps.subgroups}-{sizes}")


def test_every_op_has_its_shader():
    assert list(OPS.values()) == SHADER_OPS


def test_every_file_is_used():
    """No shared file and no quant format is left over."""
    used = {f"{op.name}.wgsl" for op in SHADER_OPS}
    for param in all_assemblies():
        used |= {f"shared/{name}.wgsl" for name in param.values[1].imports}
    assert {path.relative_to(shader.shader_root()).as_posix() for path in ALL_FILES} == used


@pytest.mark.parametrize("op", SHADER_OPS, ids=lambda op: op.name)
def test_bindings_equal_the_contract(op):
    """A shader may read what the contract calls f32 as vec2<f32> or vec4<f32>. It says where its weight is bound."""
    code = shader.source_of(op.name) + (shader.source_of("codes", shared=True) if op.weight else "")
    for name, number in re.findall(r"const (W_\w+) = (\d)u;", code):
        code = code.replace(f"@binding({name})", f"@binding({number})")
    declared = [(b.name, b.access, b.element) for b in wgsl.bindings(code)]
    lowered = lower_webgpu(op)
    assert [d[:2] for d in declared] == [d[:2] for d in lowered]
    for (name, _, element), (_, _, want) in zip(declared, lowered, strict=True):
        assert element in (want, "X", f"vec2<{want}>", f"vec4<{want}>"), name


def test_textures_are_as_wide_as_shaders_take_them():
    code = shader.source_of("codes_texture", shared=True)
    assert set(re.findall(r"& (\d{2,})u", code)) == {str(WIDTH - 1)}
    assert set(re.findall(r"i >> (\d{2})u", code)) == {str(int(math.log2(WIDTH * n))) for n in (1, TEXEL // 4)}


def test_texels_are_written_by_rows():
    assert list(rectangles(WIDTH - 3, WIDTH)) == [(WIDTH - 3, 0, 3, 1)]
    assert list(rectangles(5, 9)) == [(5, 0, 4, 1)] and not list(rectangles(7, 7))
    parts = list(rectangles(WIDTH - 1, 4 * WIDTH + 2))
    assert parts == [(WIDTH - 1, 0, 1, 1), (0, 1, WIDTH, 3), (0, 4, 2, 1)]


@pytest.mark.parametrize("op", SHADER_OPS, ids=lambda op: op.name)
def test_params_equal_the_contract(op):
    assert wgsl.immediates(shader.source_of(op.name)) == op.params
    assert op.params.itemsize <= PARAMS_BYTES


@pytest.fixture(scope="module")
def smallest(open_once):
    open_once("webgpu")  # skips, or fails, where there is no adapter
    with WebGPUBackend(lowered=WEBGPU_MINIMUM) as backend:
        yield backend


@pytest.mark.webgpu
@pytest.mark.parametrize("op, module, caps", list(all_assemblies()))
def test_naga_accepts_it(op, module, caps, smallest):
    """On a device with the limits that every WebGPU device has: 8 storage buffers, 256 invocations, 16 KiB."""
    for feature in ("subgroups", "f16"):
        if getattr(caps, feature) and not getattr(smallest.caps, feature):
            pytest.skip(f"this adapter has no {feature}")
    accesses = accesses_of(op, caps)
    assert smallest.runtime.pipelines.compile(shader.assemble(module), accesses, op.name, trusted=False) is not None


@pytest.mark.parametrize("path", ALL_FILES, ids=lambda path: path.stem)
def test_traps_are_avoided(path):
    code = wgsl.strip_comments(path.read_text(encoding="utf-8"))
    assert "enable" not in code, "naga does not parse `enable subgroups`; f16 is not needed"
    assert "i32 %" not in code
    for body in re.findall(r"for \([^{]*\{(.*)", code):
        assert not re.search(r"var \w+\s*(:[^=;]+)?;", body), "a variable of a loop needs its initial value"
    sizes = re.findall(r"@workgroup_size\(([^)]*)\)", code)
    assert all(size == "WG" for size in sizes)
    assert len(max(path.read_text(encoding="utf-8").splitlines(), key=len)) <= 120


@pytest.mark.parametrize("op", SHADER_OPS, ids=lambda op: op.name)
def test_workgroups_are_small_enough_for_every_adapter(op):
    few, many = (dict.fromkeys(op.param_names(), n) for n in (1, 4096))
    for caps in (Caps(), *VENDOR_CAPS, Caps(subgroup_min=32, subgroup_max=128)):
        for params in (few, many):
            for variant in variants.candidates(op, None, params, caps):
                wg = dict(variant.constants).get("WG", 64)
                assert wg <= 256 and wg & (wg - 1) == 0
    assert workgroup_bytes(op) <= 16 << 10


def test_workgroup_bytes_are_counted():
    assert workgroup_bytes(OPS["matmul"]) == 32 * 64 * 4 + 32 * 33 * 4
    assert workgroup_bytes(OPS["add"]) == 0
    assert workgroup_bytes(OPS["attention_split"]) == 8 * 64 * 16 + 8 * 64 * 4 + 64 * 16 + 64 * (4 + 16)


def workgroup_bytes(op) -> int:
    """Bytes of workgroup memory that the op's module declares, at the largest of its variants."""
    params, fmt = dict.fromkeys(op.param_names(), 4096), formats_of(op)[0]
    params |= {"kv_heads": 512} if "kv_heads" in params else {}  # which 8 heads share
    found = [
        shader.module_of(variant, fmt, caps)
        for caps in (Caps(subgroups=True), *VENDOR_CAPS)
        for variant in variants.candidates(op, fmt, params, caps)
    ]
    return max(map(module_bytes, found))


def module_bytes(module) -> int:
    code = wgsl.strip_comments(shader.assemble(module))
    names = {name: value.replace("u", "") for name, value in re.findall(r"const (\w+) = ([^;]+);", code)}
    sizes = {"f32": 4, "u32": 4, "atomic<u32>": 4, "vec2<u32>": 8, "Long": 8, "vec4<f32>": 16, "vec4<Staged>": 16}
    sizes |= {"W8": 64, "X8": 48}  # at most, of any format
    total = 0
    for element, count in re.findall(r"var<workgroup> \w+: array<(\S+), ([^;]+)>;", code):
        while re.search(r"[A-Z_]{2,}", count):
            count = re.sub(r"[A-Z_]{2,}", lambda m: f"({names[m[0]]})", count)
        total += sizes[element] * eval(count.replace("u", ""))  # an expression of our own constants
    return total


def test_imports_follow_format_and_features():
    matvec, attention = variants.Variant("matvec", ()), variants.Variant("attention_split", ())
    assert {"quant_q4_0", "codes32", "reduce_subgroup"} <= set(
        shader.module_of(matvec, "Q4_0", Caps(subgroups=True)).imports
    )
    assert {"quant_q8_0", "reduce"} <= set(shader.module_of(matvec, "Q8_0", Caps()).imports)
    assert {"kv_f16", "reduce"} <= set(shader.module_of(attention, "f16", Caps()).imports)
    with pytest.raises(UnsupportedError, match=r"shared/quant_q9_9\.wgsl"):
        shader.module_of(matvec, "Q9_9", Caps())


def test_assembly_appends_and_keeps_line_numbers():
    module = shader.module_of(variants.variant("add", {"WG": 64}), None, Caps())
    assert shader.assemble(module).startswith(shader.source_of("add"))
    assert shader.assemble(module).endswith("const WG = 64u;\n")


def test_the_checkout_s_shaders_are_preferred(tmp_path):
    package = tmp_path / "wgpu_infer"
    (package / "shaders").mkdir(parents=True)
    assert shader.find_root(package) == package / "shaders"
    (tmp_path / "shaders").mkdir()
    assert shader.find_root(package) == package / "shaders", "a folder of that name beside an installed package"
    (tmp_path / "pyproject.toml").write_text("")
    assert shader.find_root(package) == tmp_path / "shaders"


@pytest.mark.parametrize(
    "name, invariant", [("matvec", "LANES"), ("matvec_act8", "LANES"), ("matmul", None), ("matmul_act8", None)]
)
@pytest.mark.parametrize("caps", CAPS, ids=str)
def test_variants_cover_all_tokens_and_keep_the_order(name, invariant, caps):
    op = OPS[name]
    alone = variants.choose(op, "Q4_0", {"tokens": 1, "rows": 640, "cols": 2048}, caps)
    for tokens in range(1, 70):
        params = {"tokens": tokens, "rows": 640, "cols": 2048}
        variant = variants.choose(op, "Q4_0", params, caps)
        constants = dict(variant.constants)
        per_group = constants["TOKENS"]
        assert variants.groups(op, params, variant)[2] == -(-tokens // per_group)
        assert (variant.shader, constants.get(invariant)) == (alone.shader, dict(alone.constants).get(invariant))


LIMITS = {
    "max-storage-buffer-binding-size": 1 << 27,
    "max-buffer-size": 1 << 31,
    "max-storage-buffers-per-shader-stage": 32,
    "max-compute-invocations-per-workgroup": 1024,
    "max-compute-workgroup-storage-size": 32768,
    "max-texture-dimension-2d": 4096,
}


def test_caps_are_the_adapter_s_less_what_is_turned_off(monkeypatch):
    full = adapter("full", "discrete", features=("immediates", "subgroup", "shader-f16"))
    assert caps_of(full, LIMITS, {}) == Caps("discrete", True, True, True, False, 1 << 27, 32, 1024, 32768)
    assert caps_of(adapter("bare", "software"), LIMITS, {}) == Caps(
        "software", False, False, True, True, 1 << 26, 32, 1024, 32768
    ), "textures have fewer bytes than buffers"
    assert [caps_of(adapter("", kind), LIMITS, {}).textures for kind in KIND_ORDER] == [0, 0, 0, 1]
    assert not caps_of(adapter("apple", "integrated", "Metal"), LIMITS, {}).packed_dot
    assert caps_of(adapter("apple", "integrated", "Metal"), LIMITS, {"packed_dot": True}).packed_dot
    low = caps_of(full, LIMITS, {"max_binding": 1000, "max_workgroup": 256, "f16": False, "workgroup_bytes": 1 << 30})
    assert low == Caps("discrete", True, False, True, False, 992, 32, 256, 32768)
    assert not caps_of(adapter("bare", "software"), LIMITS, {"f16": True}).f16, "what is not there cannot be asked for"
    for name, field in (("SUBGROUPS", "subgroups"), ("F16", "f16"), ("PACKED_DOT", "packed_dot")):
        with monkeypatch.context() as environ:
            environ.setenv(f"WGPU_INFER_NO_{name}", "1")
            assert not getattr(caps_of(full, LIMITS, {}), field)
    assert caps_of(full, LIMITS, {"kind": "software"}).kind == "software"
    with pytest.raises(ParameterError, match="max_bindings cannot be lowered; allowed: kind, subgroups"):
        caps_of(full, LIMITS, {"max_bindings": 1})


def adapter(name, kind, api="Vulkan", features=("immediates",)):
    return AdapterInfo(name, kind, api, "", frozenset(features))


def test_adapter_choice():
    soft, integrated = adapter("soft", "software"), adapter("inte", "integrated")
    discrete, bare = adapter("disc", "discrete"), adapter("bare", "discrete", features=())
    assert choose([soft, integrated, discrete, bare]) is discrete
    assert choose([soft, integrated, bare]) is integrated
    assert choose([soft]) is soft
    assert choose([soft, discrete], "SOF") is soft
    assert [choose([soft, discrete, integrated], str(i)).name for i in range(3)] == ["disc", "inte", "soft"]
    assert choose([discrete, adapter("rtx 3060", "discrete")], "3060").name == "rtx 3060"
    with pytest.raises(DeviceError, match=r"'1'; there are: 0: LLVM 15\.0\.6"):
        choose([adapter("LLVM 15.0.6, 256 bits", "software")], "1")
    twice = [adapter("same", "discrete", "D3D12"), adapter("same", "discrete", "Vulkan")]
    assert choose(twice).api == "Vulkan"
    with pytest.raises(DeviceError, match="no WebGPU adapter was found; use --device cpu"):
        choose([])
    with pytest.raises(DeviceError, match="'nosuch'; there are: 0: disc, 1: soft"):
        choose([soft, discrete], "nosuch")
    with pytest.raises(DeviceError, match=r"bare.*immediates"):
        choose([bare])


def test_vendors_are_told_by_number_or_name():
    assert set(IDS.values()) == set(NAMES) == set(VENDORS) - {"other"}
    assert vendor_of(0x10DE, "") == "nvidia" and vendor_of(0x8086, "Mesa AMD something") == "intel"
    names = ["Apple M2", "AMD Radeon 780M", "Adreno (TM) 740", "Mali-G715", "NVIDIA L4", "Intel(R) Arc", "llvmpipe"]
    vendors = ["apple", "amd", "qualcomm", "arm", "nvidia", "intel", "other"]
    assert [vendor_of(0, name) for name in names] == vendors


def test_caps_know_vendor_and_subgroups():
    info = dataclasses.replace(adapter("rx", "discrete"), vendor="amd", subgroups=(32, 64))
    caps = caps_of(info, LIMITS, {})
    assert (caps.vendor, caps.subgroup_min, caps.subgroup_max) == ("amd", 32, 64)
    assert caps_of(info, LIMITS, {"vendor": "intel"}).vendor == "intel"
    with pytest.raises(ParameterError, match="vendor='matrox' is not known; allowed: nvidia, amd"):
        caps_of(info, LIMITS, {"vendor": "matrox"})
    assert subgroups_of({"stackgroup_min_size": 32, "stackgroup_max_size": 64}) == (32, 64)
    assert subgroups_of({"subgroup_min_size": 8, "subgroup_max_size": 32}) == (8, 32)
    assert subgroups_of({"stackgroup_min_size": 4, "stackgroup_max_size": 128}) == subgroups_of({}) == (0, 0)


def default_of(name, **about):
    params = {"tokens": about.pop("tokens", 1), "rows": about.pop("rows", 4096), "cols": about.pop("cols", 4096)}
    return dict(variants.choose(OPS[name], "Q4_0", params, Caps("discrete", **about)).constants)


def test_defaults_follow_the_vendor():
    assert default_of("matvec_act8", vendor="nvidia") == {"WG": 64, "LANES": 64, "ROWS": 4, "TOKENS": 1}
    assert default_of("matvec_act8", vendor="nvidia", rows=128256)["ROWS"] == 8
    assert default_of("matvec_act8", vendor="intel", rows=128256) == {"WG": 32, "LANES": 32, "ROWS": 4, "TOKENS": 1}
    assert default_of("matvec", vendor="amd", cols=512)["WG"] == 64 and default_of("matvec", cols=512)["WG"] == 32
    assert default_of("matvec", vendor="qualcomm", subgroup_max=128)["WG"] == 128, "no half-empty subgroups"
    assert (
        default_of("matmul", vendor="apple", tokens=128)["ROWS"] == 32
        and default_of("matmul", tokens=128)["ROWS"] == 64
    )
    tiles = {v: default_of("matmul_act8", vendor=v, tokens=128) for v in ("nvidia", "intel")}
    assert [(t["ROWS"], t["TOKENS"], t["STEP"]) for t in tiles.values()] == [(64, 64, 2), (32, 32, 1)]


@pytest.mark.parametrize("name", ["matvec", "matmul", "matvec_act8", "matmul_act8"])
@pytest.mark.parametrize("caps", VENDOR_CAPS, ids=lambda caps: caps.vendor)
def test_there_is_something_to_measure_on_every_gpu(name, caps):
    """Several variants, all different, for any number of tokens the same but for TOKENS."""
    seen = set()
    for tokens in (1, 5, 8):
        params = {"tokens": tokens, "rows": 4096, "cols": 4096}
        found = variants.candidates(OPS[name], "Q4_0", params, caps)
        assert len(found) == len(set(found)) > 1
        seen.add(tuple(describe(variant) for variant in found))
    assert len(seen) == 1


def test_wgsl_declarations():
    code = """
        // @group(0) @binding(7) var<storage> commented: array<f32>;
        struct P { n: u32, scale: f32, k: i32 }
        var<immediate> p: P;
        @binding(1) @group(0) var<storage, read_write> y : array<vec4<f32>>;
        @group(0) @binding(0) var<storage> x: array<u32, 4>;
    """
    assert [(b.number, b.name, b.access, b.element) for b in wgsl.bindings(code)] == [
        (0, "x", "read", "u32"),
        (1, "y", "read_write", "vec4<f32>"),
    ]
    assert wgsl.immediates(code) == np.dtype([("n", "<u4"), ("scale", "<f4"), ("k", "<i4")])
    assert wgsl.immediates("fn f() {}") is None
    for bad in (
        "@group(0) @binding(0) var<uniform> u: f32;",
        "@group(1) @binding(0) var<storage> u: array<f32>;",
        "@group(0) @binding(1) var<storage> u: array<f32>;",
    ):
        with pytest.raises(UnsupportedError):
            wgsl.bindings(bad)
    with pytest.raises(UnsupportedError, match="vec2"):
        wgsl.immediates("struct P { v: vec2<f32> } var<immediate> p: P;")
