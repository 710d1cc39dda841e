"""Typed access to metadata: a value of the wrong type or out of range is an error that names key, place and limits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from wgpu_infer.errors import ModelFormatError
from wgpu_infer.formats.gguf_metadata import Metadata
from wgpu_infer.formats.gguf_tensors import TensorInfo

REQUIRED: Any = object()  # as a default: a missing key is an error


class TypedAccess:
    """The getters of GGUF. A `default` is returned as given where the key is missing; without one that is an error."""

    path: str
    metadata: Metadata
    tensors: dict[str, TensorInfo]

    def get_int(self, key: str, default: Any = REQUIRED, minimum: int | None = None, maximum: int | None = None) -> int:
        """A whole number of `minimum` to `maximum`, both allowed."""
        if self._is_missing(key, default):
            return default  # type: ignore[no-any-return]
        value = self.metadata[key]
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._wrong_type(key, "a whole number")
        self._check_range(key, value, minimum, maximum)
        return value

    def get_float(
        self, key: str, default: Any = REQUIRED, minimum: float | None = None, maximum: float | None = None
    ) -> float:
        """A finite number of `minimum` to `maximum`, both allowed; a whole number is converted."""
        if self._is_missing(key, default):
            return default  # type: ignore[no-any-return]
        value = self.metadata[key]
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self._wrong_type(key, "a number")
        if not math.isfinite(value):
            raise self.fault(f"{key} is {value}; it must be finite", key)
        self._check_range(key, value, minimum, maximum)
        return float(value)

    def get_str(self, key: str, default: Any = REQUIRED) -> str:
        return self._get(key, default, str, "a string")

    def get_bool(self, key: str, default: Any = REQUIRED) -> bool:
        return self._get(key, default, bool, "a bool")

    def get_strings(self, key: str, default: Any = REQUIRED) -> list[str]:
        return self._get(key, default, list, "an array of strings")

    def get_array(self, key: str, default: Any = REQUIRED) -> np.ndarray:
        """A read-only array (n,) of numbers or bools in the file's own type."""
        return self._get(key, default, np.ndarray, "an array of numbers")

    def offset_of(self, key: str) -> int | None:
        """Byte offset of the value of `key` in the first file, None where it has none: for error messages."""
        return self.metadata.entry(key).offset if key in self.metadata else None

    def fault(self, reason: str, key: str | None = None) -> ModelFormatError:
        """The error for something wrong with this file, at the value of `key` where one is named."""
        return ModelFormatError(reason, self.path, None if key is None else self.offset_of(key))

    def _get(self, key: str, default: Any, kind: type, wanted: str) -> Any:
        if self._is_missing(key, default):
            return default
        value = self.metadata[key]
        if not isinstance(value, kind):
            raise self._wrong_type(key, wanted)
        return value

    def _is_missing(self, key: str, default: Any) -> bool:
        if key in self.metadata:
            return False
        if default is REQUIRED:
            raise self.fault(f"the metadata has no {key}")
        return True

    def _wrong_type(self, key: str, wanted: str) -> ModelFormatError:
        return self.fault(f"{key} must be {wanted}, but has type {self.metadata.entry(key).type_name}", key)

    def _check_range(self, key: str, value: float, minimum: float | None, maximum: float | None) -> None:
        if (minimum is not None and value < minimum) or (maximum is not None and value > maximum):
            low = "" if minimum is None else f" at least {minimum}"
            high = "" if maximum is None else f" at most {maximum}"
            raise self.fault(f"{key} is {value}; it must be{low}{' and' if low and high else ''}{high}", key)
