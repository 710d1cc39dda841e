"""python -m wgpu_infer: the same as the command wgpu-infer."""

from wgpu_infer.cli import main

main(prog_name="python -m wgpu_infer")
