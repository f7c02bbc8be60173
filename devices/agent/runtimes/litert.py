"""Drives TFLite files through ai_edge_litert (the runtime `litert`) or its ancestor tflite_runtime; results of the two
never mix."""

import base64
import hashlib
import importlib
import os
from typing import Any, Callable, Dict, List, Sequence

from runtimes.way import Way, left_over

# The Python interpreter brings no delegate for these: a device says by a variable where the library of one is.
DELEGATES = {"gpu": "OFA_GPU_DELEGATE", "npu": "OFA_NPU_DELEGATE"}
DELEGATE = "DELEGATE"
MODULES = {"litert": "ai_edge_litert", "tflite_runtime": "tflite_runtime"}

# One RELU on four floats.
EMPTY_NETWORK = (
    "CAAAAFRGTDPC////FAAAACAAAAAoAAAA+AAAAAMAAAABAAAACAAAAAQABAAEAAAABQAAAHByb2JlAAAAAQAAABQAAAAAAA4AGAAUABAADAAIAAQADgAAABQAAAAc"
    "AAAASAAAAEwAAABQAAAABAAAAG1haW4AAAAAAQAAABAAAAAAAAoADAAAAAgABAAKAAAACAAAAAwAAAABAAAAAQAAAAEAAAAAAAAAAQAAAAEAAAABAAAAAAAAAAIA"
    "AAA0AAAABAAAAOD///8IAAAADAAAAAEAAAB5AAAAAgAAAAEAAAAEAAAADAAMAAgAAAAAAAQADAAAAAgAAAAMAAAAAQAAAHgAAAACAAAAAQAAAAQAAAABAAAAEAAA"
    "AAwADAALAAAAAAAEAAwAAAATAAAAAAAAEw=="
)
# The same on 1 x 224 x 224 x 3 floats.
IO_NETWORK = (
    "CAAAAFRGTDPC////FAAAACAAAAAoAAAACAEAAAMAAAABAAAACAAAAAQABAAEAAAABQAAAHByb2JlAAAAAQAAABQAAAAAAA4AGAAUABAADAAIAAQADgAAABQA"
    "AAAcAAAASAAAAEwAAABQAAAABAAAAG1haW4AAAAAAQAAABAAAAAAAAoADAAAAAgABAAKAAAACAAAAAwAAAABAAAAAQAAAAEAAAAAAAAAAQAAAAEAAAABAAAA"
    "AAAAAAIAAAA8AAAABAAAANj///8IAAAADAAAAAEAAAB5AAAABAAAAAEAAADgAAAA4AAAAAMAAAAMAAwACAAAAAAABAAMAAAACAAAAAwAAAABAAAAeAAAAAQA"
    "AAABAAAA4AAAAOAAAAADAAAAAQAAABAAAAAMAAwACwAAAAAABAAMAAAAEwAAAAAAABM="
)
BARE = {"empty": EMPTY_NETWORK, "io": IO_NETWORK}


def about_litert() -> Dict[str, Any]:
    """Probe ai_edge_litert by running an interpreter."""
    return _about("litert")


def about_tflite_runtime() -> Dict[str, Any]:
    """Probe tflite_runtime by running an interpreter."""
    return _about("tflite_runtime")


def load_litert(path: str, way: Way) -> Callable[[], Any]:
    """Return a call that runs the TFLite file once through ai_edge_litert."""
    return _interpreter("litert", way, model_path=path)


def load_tflite_runtime(path: str, way: Way) -> Callable[[], Any]:
    """Return a call that runs the TFLite file once through tflite_runtime."""
    return _interpreter("tflite_runtime", way, model_path=path)


def load_bare_litert(name: str, way: Way) -> Callable[[], Any]:
    """Return a call of the bare network "empty", whose cost is that of calling ai_edge_litert at all, or "io"."""
    return _interpreter("litert", way, model_content=base64.b64decode(BARE[name]))


def load_bare_tflite_runtime(name: str, way: Way) -> Callable[[], Any]:
    """Return a call of the bare network "empty", whose cost is that of calling tflite_runtime at all, or "io"."""
    return _interpreter("tflite_runtime", way, model_content=base64.b64decode(BARE[name]))


def _about(name: str) -> Dict[str, Any]:
    """Return the version after an interpreter has run: under numpy 2 tflite_runtime imports and then cannot
    construct."""
    _interpreter(name, Way(), model_content=base64.b64decode(EMPTY_NETWORK))()
    module = importlib.import_module(MODULES[name])
    version = getattr(module, "__version__", None) or _installed_version(MODULES[name])
    return {"version": version, "units": {unit: _unit(unit) for unit in DELEGATES}}


def _unit(unit: str) -> Dict[str, Any]:
    """Say which delegate there is for a unit, by its content, or why there is none."""
    try:
        path = _delegate(unit)
    except ValueError as fault:
        return {"ready": False, "says": str(fault)}
    with open(path, "rb") as stream:
        digest = hashlib.sha256(stream.read()).hexdigest()
    return {"ready": True, "says": "%s, sha256 %s" % (os.path.basename(path), digest[:16]), "kernels": ["default"]}


def _delegate(unit: str) -> str:
    """Return the library of a unit's delegate; raises ValueError where none is named or the file is not there."""
    path = os.environ.get(DELEGATES[unit], "")
    if not path:
        why = "LiteRT's Python interpreter has no delegate for a %s; %s may name the library of one"
        raise ValueError(why % (unit, DELEGATES[unit]))
    if not os.path.isfile(path):
        raise ValueError("%s names no file" % DELEGATES[unit])
    return path


def _installed_version(module: str) -> str:
    """Return the version its package metadata gives (importlib.metadata is new in Python 3.8)."""
    try:
        metadata = importlib.import_module("importlib.metadata")
        return str(metadata.version(module.replace("_", "-")))
    except Exception:
        return "unreadable"


def _interpreter(name: str, way: Way, **model: Any) -> Callable[[], Any]:
    """Build an interpreter with fixed random input; kernels are "default" (XNNPACK, or the unit's delegate, whole)
    or "builtin" (no delegate)."""
    numpy = importlib.import_module("numpy")
    module = importlib.import_module(MODULES[name] + ".interpreter")
    options: Dict[str, Any] = {"num_threads": way.threads}
    if way.precision == "fp16":
        raise ValueError("%s is not told to compute in fp16 from here" % name)
    if way.kernels not in (("default", "builtin") if way.unit == "cpu" else ("default",)):
        raise ValueError("%s has no kernels called '%s' on the %s" % (name, way.kernels, way.unit))
    if way.kernels == "builtin" or way.unit != "cpu":
        options["experimental_op_resolver_type"] = module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    if way.unit != "cpu":
        options["experimental_delegates"] = [module.load_delegate(_delegate(way.unit))]
    interpreter = module.Interpreter(**dict(model, **options))
    interpreter.allocate_tensors()
    if way.unit != "cpu":
        left = outside(interpreter._get_ops_details())
        if left:
            raise left_over(left, "the delegate for the %s" % way.unit)
    random = numpy.random.RandomState(0)
    for tensor in interpreter.get_input_details():
        value = random.standard_normal(tensor["shape"])
        # Integers over all of their range: those of the numbers above would be zeros and ones.
        value = numpy.clip(value * 40, -128, 127) if tensor["dtype"] == numpy.int8 else value
        interpreter.set_tensor(tensor["index"], value.astype(tensor["dtype"]))
    return interpreter.invoke  # type: ignore[no-any-return]


def outside(ops: Sequence[Dict[str, Any]]) -> List[str]:
    """Return the ops ("CONV_2D 4") that no delegate has taken over, from what an interpreter says of its ops.

    It goes on listing those that were taken over, and the delegate's own nodes behind them: taken over is what lies
    between the inputs and the outputs of such a node.
    """
    own = [op for op in ops if op["op_name"] != DELEGATE]
    makers = {int(tensor): op for op in own for tensor in op["outputs"]}
    inside = set()
    for node in ops:
        if node["op_name"] != DELEGATE:
            continue
        given = {int(tensor) for tensor in node["inputs"]}
        ahead = [int(tensor) for tensor in node["outputs"]]
        while ahead:
            tensor = ahead.pop()
            if tensor in given or tensor not in makers or makers[tensor]["index"] in inside:
                continue
            inside.add(makers[tensor]["index"])
            ahead.extend(int(before) for before in makers[tensor]["inputs"])
    return ["%s %d" % (op["op_name"], op["index"]) for op in own if op["index"] not in inside]
