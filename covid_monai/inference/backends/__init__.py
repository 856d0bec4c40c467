"""Who computes the network: PyTorch, ONNX Runtime or OpenVINO, by name; always in float32.

A backend is a function of preprocessed images `[N, 1, S, S]` (float32) to logits `[N, K]`. Those of the CPU
see one image at a time, on one core each: what an image gets does not depend on which others are with it.
"""

from covid_monai.inference.backends.choice import BACKENDS, Backend, choose_backend, load_backend

__all__ = ["BACKENDS", "Backend", "choose_backend", "load_backend"]
