"""Models split over several GGUF files, as llama.cpp's gguf-split writes them: name-00001-of-00003.gguf and so on.

Each file says its place in `split.no` (from 0) and their number in `split.count`; `split.tensors.count` is that of the
whole model. Only the first has the model's metadata, so it is the one to open; the others are found by their names.
Checked: names, presence, numbers, and that no two files hold the same tensor or contradict each other in a key. What no
reader can see: a shard of a model with the same number of tensors, which are all named as those that it replaces.
"""

from __future__ import annotations

import os

import numpy as np

from wgpu_infer.errors import ModelFormatError
from wgpu_infer.formats.gguf_metadata import Metadata
from wgpu_infer.formats.gguf_shard import Shard

NO, COUNT, TENSORS = "split.no", "split.count", "split.tensors.count"
_OWN_KEYS = {NO, "general.alignment"}  # may differ from shard to shard


def shard_path(prefix: str, index: int, count: int) -> str:
    """The name of shard `index` (from 0) of `count`."""
    return f"{prefix}-{index + 1:05d}-of-{count:05d}.gguf"


def open_others(first: Shard) -> list[Shard]:
    """Opens the other shards of the set that `first` begins, none for a file that is not split; all or nothing."""
    count = _number(first, COUNT, 1)
    index = _number(first, NO, 0)
    if index >= max(count, 1):
        raise _fault(first, NO, f"{NO} is {index}, but {COUNT} is {count}")
    if count <= 1:
        return []
    paths = _shard_paths(first, index, count)
    shards: list[Shard] = []
    try:
        for number, path in enumerate(paths, 1):
            shards.append(Shard(path, number))
            _check_member(shards[-1], first, number)
        _check_tensors([first, *shards])
    except BaseException:
        for shard in shards:
            shard.close()
        raise
    return shards


def _shard_paths(first: Shard, index: int, count: int) -> list[str]:
    """Where the other shards lie; the first that is missing ends the search."""
    ending = shard_path("", index, count)
    if not first.path.endswith(ending):
        raise _fault(first, COUNT, f"is part {index + 1} of a model of {count} files; its name must end in {ending!r}")
    prefix = first.path[: -len(ending)]
    if index != 0:
        name = os.path.basename(shard_path(prefix, 0, count))
        raise _fault(first, NO, f"is part {index + 1} of {count} of a split model; open the first one, {name}")
    paths = []
    for number in range(1, count):
        paths.append(shard_path(prefix, number, count))
        if not os.path.exists(paths[-1]):
            name = os.path.basename(paths[-1])
            raise _fault(first, COUNT, f"part {number + 1} of {count} is missing: {name} must lie in the same folder")
    return paths


def _check_member(shard: Shard, first: Shard, index: int) -> None:
    for key, expected in ((NO, index), (COUNT, _number(first, COUNT))):
        found = _number(shard, key)
        if found != expected:
            raise _fault(
                shard, key, f"{key} is {found}, expected {expected}: the file belongs to another place or model"
            )
    for key in shard.metadata:
        if key in first.metadata and key not in _OWN_KEYS and not _equal(shard.metadata, first.metadata, key):
            raise _fault(shard, key, f"{key} differs from that of the first part: the file belongs to another model")


def _check_tensors(shards: list[Shard]) -> None:
    seen: dict[str, Shard] = {}
    for shard in shards:
        for name, info in shard.tensors.items():
            if name in seen:
                other = os.path.basename(seen[name].path)
                raise ModelFormatError(f"tensor {name!r} is in {other} already", shard.path, info.info_offset)
            seen[name] = shard
    expected = _number(shards[0], TENSORS)
    if len(seen) != expected:
        reason = f"{TENSORS} is {expected}, but the {len(shards)} parts hold {len(seen)} tensors"
        raise _fault(shards[0], TENSORS, reason)


def _number(shard: Shard, key: str, default: int | None = None) -> int:
    """A non-negative integer of the split's keys."""
    if key not in shard.metadata:
        if default is None:
            raise ModelFormatError(f"has no {key}: it is not part of a split model", shard.path)
        return default
    value = shard.metadata[key]
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _fault(shard, key, f"{key} must be a whole number, not {shard.metadata.entry(key).type_name}")
    return value


def _equal(one: Metadata, other: Metadata, key: str) -> bool:
    return one.entry(key)[1:3] == other.entry(key)[1:3] and bool(np.array_equal(one[key], other[key]))


def _fault(shard: Shard, key: str, reason: str) -> ModelFormatError:
    offset = shard.metadata.entry(key).offset if key in shard.metadata else None
    return ModelFormatError(reason, shard.path, offset)
