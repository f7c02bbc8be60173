"""Checks a model that was handed over: its files, how images are prepared, what it answers, the order of its classes.

    python check.py              check the folder that this file lies in
    python check.py --time       and say how long one call takes here, beside what was expected

It needs Python 3.8 or newer, numpy, and the runtime of the model: onnxruntime for an .onnx file, ai-edge-litert or
tflite-runtime for a .tflite file. Nothing of what made the model is needed. Exit codes: 0 all is as handed over,
2 usage, 3 a file is missing, damaged or changed, 7 something is computed otherwise, 8 a package is missing.

``prepared`` below is how an image becomes what the model takes: an application that does the same does it right.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import io
import json
import re
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

SCHEMA = "bundle/1"
SUMS, BUNDLE, CHECK = "SHA256SUMS", "bundle.json", "check.py"
MOST_BYTES = 2 << 30
MOST_JSON_BYTES = 64 << 20
# What bundle.json must say for a check, and of which kind.
NEEDED: dict[tuple[str, ...], Any] = {
    ("schema",): str,
    ("model", "file"): str,
    ("model", "format"): str,
    ("input", "shape"): list,
    ("input", "layout"): str,
    ("input", "channel_order"): str,
    ("preprocessing", "cut"): str,
    ("preprocessing", "width_px"): int,
    ("preprocessing", "height_px"): int,
    ("preprocessing", "round_to_8_bits"): bool,
    ("preprocessing", "divide_by"): (int, float),
    ("preprocessing", "mean"): list,
    ("preprocessing", "std"): list,
    ("classes",): list,
    ("golden", "file"): str,
    ("golden", "images"): int,
    ("golden", "channel_order"): str,
    ("golden", "tolerance", "prepared"): float,
    ("golden", "tolerance", "outputs"): float,
}
# The packages that run each format, the first that is installed.
RUNTIMES = {"onnx": ("onnxruntime",), "tflite": ("ai_edge_litert", "tflite_runtime")}
ORDERS = {"grey": (0,), "RGB": (0, 1, 2), "BGR": (2, 1, 0)}
WARM_UP_CALLS, TIMED_CALLS = 10, 100
AGAIN = "copy the whole folder again from where it came from"


class Fault(Exception):
    """Something is not as it was handed over: an exit code, what, why, and what to try."""

    def __init__(self, code: int, what: str, why: str, hint: str) -> None:
        super().__init__(f"error: {what}\n  why: {why}\n  try: {hint}")
        self.code = code


class Golden(NamedTuple):
    """Images as they were read (uint8[h, w, c] each), what the model takes of them, and what it answered.

    ``predicted`` is the name of the class of the largest output; ``classes`` are all names in the order of the outputs.
    """

    raw: Sequence[Any]
    prepared: Any
    outputs: Any
    predicted: Sequence[str]
    classes: Sequence[str]


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the folder of this file; print what was found and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).resolve().parent, help="another folder")
    parser.add_argument("--time", action="store_true", help="also time the model, beside what was expected")
    parser.add_argument("--threads", type=int, default=1, help="threads of the runtime (1)")
    asked = parser.parse_args(arguments)
    if asked.threads < 1:
        parser.error(f"--threads {asked.threads}: at least 1 is needed")
    try:
        timing = check(asked.folder, threads=asked.threads, timed=asked.time)
    except Fault as fault:
        print(fault, file=sys.stderr)
        return fault.code
    print(f"all files and answers are as they were handed over{timing}" if timing else "all is as it was handed over")
    return 0


def check(folder: Path, *, threads: int = 1, timed: bool = False) -> str:
    """Check a folder and print a line for each thing that is right; raises Fault for the first that is not.

    Return in what the time differs from what was expected, empty where it does not or was not asked for.
    """
    names = check_sums(folder)
    bundle = described(folder, names)
    print(f"files        {len(names)} have the SHA-256 they were sent with")
    golden = read_golden(folder, bundle)
    inputs = check_prepared(bundle, golden)
    print(f"preparation  {len(inputs)} images become what the model takes")
    run, name = load(folder, bundle, threads)
    answers = check_outputs(bundle, golden, inputs, run, name)
    print(f"outputs      {len(answers)} answers agree in {name}")
    check_classes(bundle, golden, answers)
    print(f"classes      {len(bundle['classes'])} names are in the order of the outputs")
    return tell_time(bundle, run, inputs[0], name) if timed else ""


def check_sums(folder: Path) -> set[str]:
    """Compare every file with SHA256SUMS; return their names."""
    sums = _read(folder / SUMS, MOST_JSON_BYTES).decode("utf-8", "replace")
    named = re.findall(r"^([0-9a-f]{64})  ([\w.-]+)$", sums, re.MULTILINE)
    if len(named) != len(sums.splitlines()) or not {BUNDLE, CHECK} <= {name for _, name in named}:
        raise Fault(3, f"'{SUMS}' cannot be used", "it does not list the files of this folder, one a line", AGAIN)
    for digest, name in named:
        found = hashlib.sha256(_read(folder / name, MOST_BYTES)).hexdigest()
        if found != digest:
            raise Fault(3, f"'{name}' was changed", f"its SHA-256 is {found}, in '{SUMS}' it is {digest}", AGAIN)
    return {name for _, name in named}


def described(folder: Path, names: set[str]) -> dict[str, Any]:
    """Return what bundle.json says, once it says all that a check needs."""
    try:
        bundle = json.loads(_read(folder / BUNDLE, MOST_JSON_BYTES).decode())
    except (ValueError, RecursionError) as fault:
        raise Fault(3, f"'{BUNDLE}' is not valid JSON", str(fault), AGAIN) from None
    for path, kind in NEEDED.items():
        value = bundle
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        if not isinstance(value, kind):
            raise Fault(3, f"'{BUNDLE}' cannot be used", f"it says nothing usable of '{'.'.join(path)}'", AGAIN)
    if bundle["schema"] != SCHEMA:
        raise Fault(3, f"'{BUNDLE}' is of schema '{bundle['schema']}'", f"this check reads '{SCHEMA}'", AGAIN)
    if unlisted := {bundle["model"]["file"], bundle["golden"]["file"]} - names:
        raise Fault(3, f"'{SUMS}' cannot be used", f"it does not list '{min(unlisted)}'", AGAIN)
    if why := _unusable(bundle):
        raise Fault(3, f"'{BUNDLE}' cannot be used", why, AGAIN)
    return dict(bundle)


def _unusable(bundle: dict[str, Any]) -> str:
    """Return in what the parts of bundle.json do not go together; empty where they do."""
    rules, shape = bundle["preprocessing"], bundle["input"]["shape"]
    given, wanted = (ORDERS.get(bundle[part]["channel_order"], ()) for part in ("golden", "input"))
    numbers = [*rules["mean"], *rules["std"], rules["divide_by"]]
    if not all(isinstance(number, (int, float)) for number in numbers) or 0 in numbers[len(rules["mean"]) :]:
        return "mean, std and divide_by are not all numbers to divide by"
    if not wanted or not len(given) == len(wanted) == len(rules["mean"]) == len(rules["std"]):
        return "its channel orders, mean and std do not go together"
    if rules["cut"] not in ("none", "middle") or bundle["input"]["layout"] not in ("NCHW", "NHWC"):
        return "it names a cut or a layout that this check does not know"
    map_shape = [rules["height_px"], rules["width_px"]]
    taken = [1, len(wanted), *map_shape] if bundle["input"]["layout"] == "NCHW" else [1, *map_shape, len(wanted)]
    if min(map_shape) < 1 or taken != shape:
        return f"images become {taken}, and the model takes {shape}"
    return ""


def read_golden(folder: Path, bundle: dict[str, Any]) -> Golden:
    """Return the images and answers to compare with."""
    name, count = bundle["golden"]["file"], bundle["golden"]["images"]
    numpy = _numpy()
    raw = _read(folder / Path(name).name, MOST_BYTES)
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            if sum(part.file_size for part in archive.infolist()) > MOST_BYTES:
                raise ValueError(f"unpacked it has more than {MOST_BYTES:,} bytes")
        with numpy.load(io.BytesIO(raw), allow_pickle=False) as found:
            images = [found[f"raw_{number}"] for number in range(count)]
            arrays = [found[key] for key in ("prepared", "outputs", "predicted", "classes")]
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as fault:
        raise Fault(3, f"'{name}' cannot be used", str(fault) or type(fault).__name__, AGAIN) from None
    prepared, outputs, predicted, classes = arrays
    shape = (count, *bundle["input"]["shape"][1:])
    whole = all(image.dtype == numpy.uint8 and image.ndim == 3 for image in images)
    if not count or not whole or prepared.shape != shape or len(outputs) != count or len(predicted) != count:
        raise Fault(3, f"'{name}' cannot be used", f"it does not hold {count} images as arrays {list(shape)}", AGAIN)
    return Golden(images, prepared, outputs, predicted.tolist(), classes.tolist())


def check_prepared(bundle: dict[str, Any], golden: Golden) -> list[Any]:
    """Prepare every image by the rules, and compare; return what the model takes, float32[1, ...] each."""
    numpy, most = _numpy(), bundle["golden"]["tolerance"]["prepared"]
    inputs = [prepared(image, bundle) for image in golden.raw]
    for number, found in enumerate(inputs):
        apart = float(numpy.abs(found[0] - golden.prepared[number]).max())
        if not apart <= most:
            why = f"it is off by {apart:.3g} from what the model was given; at most {most:g} is allowed"
            turned = prepared(golden.raw[number][:, :, ::-1], bundle)
            if float(numpy.abs(turned[0] - golden.prepared[number]).max()) <= most:
                why = "with red and blue exchanged it is right: somewhere the order of the channels was swapped"
            hint = f"set 'preprocessing' and 'channel_order' in '{BUNDLE}' back to what was handed over"
            raise Fault(7, f"golden image {number} is not prepared as it was", why, hint)
    return inputs


def prepared(image: Any, bundle: dict[str, Any]) -> Any:
    """Return an image uint8[h, w, c] as the model takes it, float32[1, c, H, W] or [1, H, W, c].

    Its channels are put in the model's order; it is cut to its middle where the rules say so; resized with the
    triangle filter, widened where the image shrinks (bilinear with antialiasing), columns and rows to their own size;
    rounded to 8 bits where the rules say so; divided, and normalised by mean and deviation of each channel.
    """
    numpy, rules = _numpy(), bundle["preprocessing"]
    given, wanted = ORDERS[bundle["golden"]["channel_order"]], ORDERS[bundle["input"]["channel_order"]]
    pixels = image[:, :, [given.index(channel) for channel in wanted]].astype(numpy.float64)
    width, height = rules["width_px"], rules["height_px"]
    left, top, right, bottom = 0.0, 0.0, float(image.shape[1]), float(image.shape[0])
    if rules["cut"] == "middle":
        left, top, right, bottom = middle(image.shape[1], image.shape[0], width)
    rows = numpy.tensordot(_shares(image.shape[0], top, bottom, height), pixels, (1, 0))
    resized = numpy.tensordot(_shares(image.shape[1], left, right, width), rows, (1, 1)).transpose(1, 0, 2)
    if rules["round_to_8_bits"]:
        resized = numpy.clip(numpy.floor(resized + 0.5), 0, 255)
    normal = (resized / rules["divide_by"] - numpy.array(rules["mean"])) / numpy.array(rules["std"])
    placed = normal.transpose(2, 0, 1) if bundle["input"]["layout"] == "NCHW" else normal
    return numpy.ascontiguousarray(placed[None], dtype=numpy.float32)


def middle(width: int, height: int, side_px: int) -> tuple[float, float, float, float]:
    """Return the (left, top, right, bottom) px of the middle of an image: 7/8 of its shorter edge, square.

    It is what is left of the image resized so that its shorter edge has ceil(side_px * 8 / 7) px, after the middle
    side_px x side_px of that was cut out.
    """
    edge, shorter = -(-side_px * 8 // 7), min(width, height)
    wide, tall = edge * width // shorter, edge * height // shorter
    left, top = round((wide - side_px) / 2), round((tall - side_px) / 2)
    across, down = width / wide, height / tall
    return left * across, top * down, (left + side_px) * across, (top + side_px) * down


def load(folder: Path, bundle: dict[str, Any], threads: int) -> tuple[Callable[[Any], Any], str]:
    """Return a call on one prepared image, and the runtime and its version."""
    form, path = bundle["model"]["format"], folder / Path(bundle["model"]["file"]).name
    missing = []
    for package in RUNTIMES.get(form, ()):
        try:
            module = importlib.import_module(package if form == "onnx" else f"{package}.interpreter")
        except ImportError as fault:
            missing.append(f"{package}: {fault}")
            continue
        version = getattr(importlib.import_module(package), "__version__", "")
        try:
            run = (_onnx if form == "onnx" else _tflite)(module, path, threads)
        # A runtime refuses a file in any way it likes.
        except Exception as fault:
            raise Fault(3, f"'{path.name}' cannot be loaded by {package}", _one_line(fault), AGAIN) from None
        return run, f"{package} {version}".strip()
    names = " or ".join(name.replace("_", "-") for name in RUNTIMES.get(form, ()))
    raise Fault(8, f"nothing here runs '{path.name}'", "; ".join(missing) or f"'{form}' is unknown", f"install {names}")


def check_outputs(bundle: dict[str, Any], golden: Golden, inputs: list[Any], run: Any, name: str) -> list[Any]:
    """Run the model on every prepared image and compare; return what it answered, float[classes] each."""
    numpy, most = _numpy(), bundle["golden"]["tolerance"]["outputs"]
    answers = []
    for number, image in enumerate(inputs):
        try:
            answers.append(numpy.asarray(run(image)).reshape(-1))
        except Exception as fault:
            raise Fault(7, f"the model fails on golden image {number} in {name}", _one_line(fault), AGAIN) from None
        expected = golden.outputs[number].reshape(-1)
        alike = answers[-1].shape == expected.shape
        apart = float(numpy.abs(answers[-1] - expected).max() / numpy.abs(expected).max()) if alike else float("nan")
        if not apart <= most:
            why = f"the largest difference is {apart:.3g} of the largest output; at most {most:g} is allowed"
            made = ", ".join(f"{key} {value}" for key, value in sorted(bundle.get("checked_with", {}).items()))
            hint = f"use the runtime it was made with ({made}), one thread, on a CPU; or {AGAIN}"
            raise Fault(7, f"the model answers golden image {number} otherwise in {name}", why, hint)
    return answers


def check_classes(bundle: dict[str, Any], golden: Golden, answers: list[Any]) -> None:
    """Compare the names of the classes with those the answers were given by."""
    named = [str(name) for name in bundle["classes"]]
    hint = f"set 'classes' in '{BUNDLE}' back to what was handed over"
    for number, (found, expected) in enumerate(zip(named, golden.classes)):
        if found != expected:
            why = f"class {number} is '{found}', and was '{expected}'"
            raise Fault(7, "the classes are in another order, or have other names", why, hint)
    if len(named) != len(golden.classes) or any(len(answer) != len(named) for answer in answers):
        raise Fault(7, f"{len(named)} classes are named", f"the model tells {len(golden.classes)} apart", hint)
    for number, (answer, expected) in enumerate(zip(answers, golden.predicted)):
        if named[int(answer.argmax())] != expected:
            why = f"golden image {number} is called '{named[int(answer.argmax())]}', and was called '{expected}'"
            raise Fault(7, "the model calls an image something else", why, hint)


def tell_time(bundle: dict[str, Any], run: Callable[[Any], Any], image: Any, name: str) -> str:
    """Print how long one call takes here, and what was expected where; return in what the two differ, empty where not.

    Another device may well be slower: nothing is refused for it.
    """
    taken_ms = []
    for _ in range(WARM_UP_CALLS + TIMED_CALLS):
        began_ns = time.perf_counter_ns()
        run(image)
        taken_ms.append((time.perf_counter_ns() - began_ns) / 1e6)
    taken_ms = sorted(taken_ms[WARM_UP_CALLS:])
    low, median, high = (taken_ms[len(taken_ms) * share // 100] for share in (5, 50, 95))
    print(f"time         {median:.3f} ms ({low:.3f} to {high:.3f} in nine of ten calls) on this computer, {name}")
    expected = (bundle.get("expected") or {}).get("latency")
    if expected:
        span = f" ({expected['lo_ms']:.3f} to {expected['hi_ms']:.3f})" if expected.get("lo_ms") is not None else ""
        device = expected["device"]
        # Whoever reads it sits at another one.
        device = "the computer it was measured on" if device == "this-computer" else device
        print(f"expected     {expected['ms']:.3f} ms{span} on {device}, {expected['runtime']}")
        if span and not expected["lo_ms"] <= median <= expected["hi_ms"]:
            way = "above" if median > expected["hi_ms"] else "below"
            return f"; the time here lies {way} what was expected there"
    return ""


def _shares(size: int, start: float, stop: float, count: int) -> Any:
    """Return the share of each of ``size`` pixels in each of ``count`` between ``start`` and ``stop``."""
    numpy = _numpy()
    scale = (stop - start) / count
    centres = start + (numpy.arange(count) + 0.5) * scale
    apart = numpy.abs(numpy.arange(size)[None] + 0.5 - centres[:, None]) / max(scale, 1.0)
    weights = numpy.maximum(0.0, 1.0 - apart)
    return weights / weights.sum(axis=1, keepdims=True)


def _onnx(module: Any, path: Path, threads: int) -> Callable[[Any], Any]:
    options = module.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
    session = module.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda image: session.run(None, {name: image})[0]


def _tflite(module: Any, path: Path, threads: int) -> Callable[[Any], Any]:
    interpreter = module.Interpreter(model_path=str(path), num_threads=threads)
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def run(image: Any) -> Any:
        interpreter.set_tensor(source, image)
        interpreter.invoke()
        return interpreter.get_tensor(target)

    return run


def _read(path: Path, most_bytes: int) -> bytes:
    try:
        if not path.is_file():
            raise OSError("it is not there, or no plain file")
        if path.stat().st_size > most_bytes:
            raise OSError(f"it has more than {most_bytes:,} bytes")
        return path.read_bytes()
    except OSError as fault:
        raise Fault(3, f"'{path.name}' cannot be read", fault.strerror or str(fault), AGAIN) from None


def _numpy() -> Any:
    try:
        return importlib.import_module("numpy")
    except ImportError as fault:
        raise Fault(8, "numpy is missing", str(fault), "install numpy") from None


def _one_line(fault: BaseException) -> str:
    return " ".join(str(fault).split())[:300] or type(fault).__name__


if __name__ == "__main__":
    sys.exit(main())
