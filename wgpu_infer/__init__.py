"""LLM inference and GPU compute in Python on WebGPU."""
