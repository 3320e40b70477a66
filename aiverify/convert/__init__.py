"""Tensors without the danger: safetensors twins of checkpoints."""
