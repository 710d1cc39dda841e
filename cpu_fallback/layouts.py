"""The layouts of all quantised formats, by ggml type id."""

from __future__ import annotations

from cpu_fallback import layouts_32
from cpu_fallback.layout import Layout

LAYOUTS: dict[int, Layout] = {each.ggml_type: each for each in (layouts_32.Q4_0,)}
