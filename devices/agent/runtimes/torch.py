"""Drives PyTorch on the CPU with TorchScript files."""

import importlib
from typing import Any, Callable, Dict

BARE = {"empty": (1, 4), "io": (1, 3, 224, 224)}


def about() -> Dict[str, Any]:
    """Return the version after running an empty network."""
    load_bare("empty", 1, "default")()
    return {"version": str(importlib.import_module("torch").__version__)}


def load(path: str, threads: int, kernels: str) -> Callable[[], Any]:
    """Return a call that runs the TorchScript file once; its input shape stands in the file as attribute
    ``input_shape``."""
    torch = _torch(threads, kernels)
    extra: Dict[str, Any] = {"input_shape": ""}
    module = torch.jit.load(path, map_location="cpu", _extra_files=extra).eval()
    text = extra["input_shape"]
    text = text.decode() if isinstance(text, bytes) else text
    shape = [int(part) for part in text.strip("[]() ").replace(",", " ").split()]
    if not shape:
        raise ValueError("the file does not say its input shape (extra file 'input_shape')")
    return _call(torch, module, shape)


def load_bare(name: str, threads: int, kernels: str) -> Callable[[], Any]:
    """Return a call of the bare network "empty", whose cost is that of calling a traced network at all, or "io"."""
    torch = _torch(threads, kernels)
    return _call(torch, torch.jit.trace(torch.relu, (torch.zeros(BARE[name]),)), BARE[name])


def _torch(threads: int, kernels: str) -> Any:
    """Import torch with its threads set and gradients off."""
    if kernels != "default":
        raise ValueError("torch has no kernels called '%s'" % kernels)
    torch = importlib.import_module("torch")
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    return torch


def _call(torch: Any, module: Any, shape: Any) -> Callable[[], Any]:
    """Return the call on fixed random input."""
    value = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return lambda: module(value)
