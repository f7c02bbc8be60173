"""Drives PyTorch on the CPU or a GPU with TorchScript files."""

import importlib
import time
from typing import Any, Callable, Dict

from runtimes.way import Way

BARE = {"empty": (1, 4), "io": (1, 3, 224, 224)}
# A GPU's first calls of a file also time, compile and specialise it.
GPU_WARM_CALLS = 5


def about() -> Dict[str, Any]:
    """Return the version after running an empty network, and what it finds besides the CPU."""
    load_bare("empty", Way())()
    torch = importlib.import_module("torch")
    npu = {"ready": False, "says": "PyTorch does not drive one here"}
    return {"version": str(torch.__version__), "units": {"gpu": _gpu(torch), "npu": npu}}


def load(path: str, way: Way) -> Callable[[], Any]:
    """Return a call that runs the TorchScript file once; its input shape stands in the file as attribute
    ``input_shape``. On a GPU input and output stay there."""
    torch = _torch(way)
    extra: Dict[str, Any] = {"input_shape": ""}
    where = "cuda" if way.unit == "gpu" else "cpu"
    module = torch.jit.load(path, map_location=where, _extra_files=extra).eval()
    text = extra["input_shape"]
    text = text.decode() if isinstance(text, bytes) else text
    shape = [int(part) for part in text.strip("[]() ").replace(",", " ").split()]
    if not shape:
        raise ValueError("the file does not say its input shape (extra file 'input_shape')")
    return _call(torch, module, shape, way)


def load_bare(name: str, way: Way) -> Callable[[], Any]:
    """Return a call of the bare network "empty", whose cost is that of calling a traced network at all, or "io"; on a
    GPU that of "io" begins and ends in the CPU's memory."""
    torch = _torch(way)
    module = torch.jit.trace(torch.relu, (torch.zeros(BARE[name]),))
    return _call(torch, module, BARE[name], way, copies=name == "io")


def _gpu(torch: Any) -> Dict[str, Any]:
    """Say which GPU this build can use, after running a network there; or why it cannot."""
    try:
        if not torch.cuda.is_available():
            built = torch.version.cuda
            why = "this build of PyTorch is without CUDA" if built is None else "PyTorch (CUDA %s) finds no GPU" % built
            return {"ready": False, "says": why}
        facts = (torch.cuda.get_device_name(0), "%d.%d" % tuple(torch.cuda.get_device_capability(0)))
        load_bare("empty", Way(unit="gpu"))()
        says = "%s, compute %s, CUDA %s, cuDNN %s" % (facts + (torch.version.cuda, torch.backends.cudnn.version()))
    # A build for other GPUs fails in the first call only: whatever it is, it is the reason.
    except Exception as fault:
        return {"ready": False, "says": " ".join(("%s: %s" % (type(fault).__name__, fault)).split())[:400]}
    return {"ready": True, "says": says, "kernels": ["default"]}


def _torch(way: Way) -> Any:
    """Import torch with its threads set and gradients off."""
    if way.kernels != "default":
        raise ValueError("torch has no kernels called '%s'" % way.kernels)
    if way.unit == "npu":
        raise ValueError("PyTorch drives no npu")
    if way.precision != "fp32" and (way.unit, way.precision) != ("gpu", "fp16"):
        raise ValueError("PyTorch does not compute a file of float32 in %s on the %s" % (way.precision, way.unit))
    torch = importlib.import_module("torch")
    if way.unit == "gpu" and not torch.cuda.is_available():
        raise RuntimeError("PyTorch finds no GPU")
    torch.set_num_threads(way.threads)
    torch.set_grad_enabled(False)
    return torch


def _call(torch: Any, module: Any, shape: Any, way: Way, copies: bool = False) -> Callable[[], Any]:
    """Return the call on fixed random input."""
    value = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    if way.unit == "cpu":
        return lambda: module(value)
    # The order in memory that its convolutions are made for, for weights too where the module has any.
    value = value.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else value
    module = module.to(memory_format=torch.channels_last) if hasattr(module, "to") else module
    # Autocast would turn weights into halves again in each call, which nobody who ships a network does.
    if way.precision == "fp16":
        value, module = value.half(), module.half() if hasattr(module, "half") else module
    if copies:
        # The way back waits for the GPU.
        return lambda: module(value.to("cuda")).to("cpu")
    return _awaited(torch, module, value.to("cuda"))


def _awaited(torch: Any, module: Any, value: Any) -> Callable[[], Any]:
    """Return a call that ends when the GPU has ended, found by the GPU's own clock to be so.

    Raises RuntimeError where calls took less than the work in them: then nothing waited for it.
    """
    done, stream = torch.cuda.Event(), torch.cuda.current_stream()

    def run() -> None:
        module(value)
        done.record(stream)
        done.synchronize()

    for _ in range(GPU_WARM_CALLS):
        run()
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start_s = time.perf_counter()
    run()
    took_ms = 1e3 * (time.perf_counter() - start_s)
    begin.record(stream)
    module(value)
    end.record(stream)
    end.synchronize()
    if took_ms < 0.5 * begin.elapsed_time(end):
        raise RuntimeError("a call took %.3f ms, the GPU's own work in it more: it was not waited for" % took_ms)
    return run
