"""The layouts of all formats, by ggml type id."""

from __future__ import annotations

from cpu_fallback import layouts_32, layouts_float, layouts_k
from cpu_fallback.layout import FloatLayout, Layout

LAYOUTS: dict[int, Layout] = {each.ggml_type: each for each in (*layouts_32.ALL, *layouts_k.ALL)}
FLOAT_LAYOUTS: dict[int, FloatLayout] = {each.ggml_type: each for each in layouts_float.ALL}
