"""The runtimes this agent can drive, by the one word each has everywhere; nothing is imported until it is asked for."""

from typing import Any, Callable, Dict, NamedTuple

from runtimes import litert, onnxruntime, torch
from runtimes.way import Unsupported, Way

Run = Callable[[], Any]


# The networks of one elementwise node that every adapter has, by the word that stands where others have a file: on four
# floats, and on those of an image, 1 x 3 x 224 x 224 (for TFLite 1 x 224 x 224 x 3).
EMPTY = "empty"
IO = "io"
BARE = (EMPTY, IO)


class Adapter(NamedTuple):
    """What a runtime must be able to do; ``load_bare`` takes one of `BARE`."""

    about: Callable[[], Dict[str, Any]]
    load: Callable[[str, Way], Run]
    load_bare: Callable[[str, Way], Run]


ADAPTERS: Dict[str, Adapter] = {
    "onnxruntime": Adapter(onnxruntime.about, onnxruntime.load, onnxruntime.load_bare),
    "litert": Adapter(litert.about_litert, litert.load_litert, litert.load_bare_litert),
    "tflite_runtime": Adapter(litert.about_tflite_runtime, litert.load_tflite_runtime, litert.load_bare_tflite_runtime),
    "torch": Adapter(torch.about, torch.load, torch.load_bare),
}


def about(name: str) -> Dict[str, Any]:
    """Return {name, version, ready} and more; ``ready`` is false with a ``reason`` where a network cannot be run."""
    adapter = ADAPTERS.get(name)
    if adapter is None:
        return {"name": name, "version": None, "ready": False, "reason": "this agent has no adapter for it"}
    try:
        return dict(adapter.about(), name=name, ready=True)
    # An installed runtime can fail in any way (numpy's ABI gives SystemError): whatever it is, it is the reason.
    except Exception as fault:
        return {"name": name, "version": None, "ready": False, "reason": describe(fault)}


def describe(fault: BaseException) -> str:
    """Return an exception as one short line."""
    # The host gives a row another status by this word.
    kind = "unsupported" if isinstance(fault, Unsupported) else type(fault).__name__
    line = " ".join(("%s: %s" % (kind, fault)).split())
    return line[:400]
