"""Twins that are compiled once per weight format, so that a model pays for its own formats only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


class PerLayout:
    """A twin for each weight format: `make` maps a format's row of a table to a kernel, made when first asked for.

    raw: the twin reads the file's blocks, not packed ones.
    """

    def __init__(self, make: Callable[[Any], Any], rows: Mapping[int, Any], raw: bool):
        self._make, self._rows, self.raw = make, rows, raw
        self._twins: dict[int, Any] = {}

    def reads(self, ggml_type: int) -> bool:
        return ggml_type in self._rows

    def twin(self, ggml_type: int) -> Any:
        """The twin for a format; KeyError for one that is not in the table."""
        found = self._twins.get(ggml_type)
        if found is None:
            found = self._make(self._rows[ggml_type])
            found.variety = str(ggml_type)
            self._twins[ggml_type] = found
        return found

    @property
    def py_func(self) -> Callable:
        twin = self.twin(next(iter(self._rows)))
        return getattr(twin, "py_func", twin)


def per_layout(rows: Mapping[int, Any], raw: bool = False) -> Callable[[Callable[[Any], Any]], PerLayout]:
    return lambda make: PerLayout(make, rows, raw)
