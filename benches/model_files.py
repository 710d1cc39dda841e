"""Model files for benchmarks, written by tools/make_model.py when they are first asked for."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import click

from tools.made_mixes import MIXES, PURE
from tools.made_shapes import SHAPES
from tools.make_model import make_model


@dataclass(frozen=True)
class ModelFiles:
    """A folder of files named after shape and format. Those of a temporary folder go when they are `done`."""

    folder: Path
    is_temporary: bool

    def path(self, model: str, layers: int | None = None) -> Path:
        """The file of a model given as SHAPE:FORMAT, cut to so many layers if any; with random weights of seed 0."""
        shape, format = split_model(model)
        suffix = f"-layers-{layers}" if layers else ""
        path = self.folder / f"{shape}-{format}{suffix}.gguf"
        if not path.exists():
            click.echo(f"writing {path.name}", err=True)
            sizes = SHAPES[shape]
            new = path.with_suffix(".new")
            make_model(replace(sizes, layers=layers or sizes.layers), format, new)
            new.replace(path)
        return path

    def done(self, path: Path) -> None:
        if self.is_temporary:
            path.unlink()


@contextmanager
def model_files(folder: Path | None) -> Iterator[ModelFiles]:
    """Files kept in `folder`, or in a temporary one."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield ModelFiles(folder, is_temporary=False)
        return
    with tempfile.TemporaryDirectory() as temporary:
        yield ModelFiles(Path(temporary), is_temporary=True)


def split_model(model: str) -> tuple[str, str]:
    """Shape and format of SHAPE:FORMAT; ValueError where tools/make_model.py does not know them."""
    shape, _, format = model.partition(":")
    if shape not in SHAPES:
        raise ValueError(f"no shape is called {shape!r}; known: {', '.join(SHAPES)}")
    if format not in MIXES and format not in PURE:
        raise ValueError(f"no format is called {format!r}; known: {', '.join([*MIXES, *PURE])}")
    return shape, format
