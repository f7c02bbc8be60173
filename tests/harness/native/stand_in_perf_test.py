"""A stand-in for `onnxruntime_perf_test`: it truly runs the ONNX file, and writes what the real one does.

It is test code and no build of the real program. STYLE is "old" or "new": the text, and how many columns a call has.
"""

import sys
import time

STYLE = "new"
FAULT = "none"
FALLBACK = "This session contains graph nodes that are assigned to the default CPU EP, but fallback to CPU EP has been "


def main(arguments: list[str]) -> int:
    if "--help" in arguments:
        print("onnxruntime_perf_test [options...] model_path [result_file]\n (a stand-in: test code)\n\t-m [test_mode]")
        return 0
    *options, model, result = arguments
    if not model.endswith(".onnx") or "-I" not in options:
        print(f"{model} is not supported", file=sys.stderr)
        return 1
    value = {name: options[options.index(name) + 1] for name in ("-e", "-m", "-r", "-x", "-y", "-o")}
    if value["-e"] != "cpu":
        print(FALLBACK + "explicitly disabled by the user.", file=sys.stderr)
        return 1
    import numpy
    import onnxruntime

    start = time.perf_counter()
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = int(value["-x"])
    session = onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
    load_s = time.perf_counter() - start
    types = {"tensor(float)": numpy.float32, "tensor(int8)": numpy.int8}
    feeds = {tensor.name: numpy.ones(tensor.shape, types[tensor.type]) for tensor in session.get_inputs()}
    start = time.perf_counter()
    session.run(None, feeds)
    first_s = time.perf_counter() - start
    times: list[float] = []
    for _ in range(int(value["-r"])):
        start = time.perf_counter()
        session.run(None, feeds)
        times.append(time.perf_counter() - start)
    report(result, load_s, first_s, times)
    return 0


def report(result: str, load_s: float, first_s: float, times: list[float]) -> None:
    peak = 150 << 20
    print(f"Session creation time cost: {load_s:g} s")
    if STYLE == "new":
        print(f"First inference time cost: {1000 * first_s:.0f} ms")
    print(f"Total inference requests: {len(times)}")
    print(f"Average inference time cost{' total' if STYLE == 'new' else ''}: {1000 * sum(times) / len(times):.6f} ms")
    print(f"Peak working set size: {peak} bytes")
    ordered = sorted(times)
    shares = {"Min": 0, "Max": len(times) - 1, "P50": len(times) // 2, "P95": int(0.95 * len(times))}
    for name, place in shares.items():
        print(f"{name} Latency: {ordered[place]:g} s" if STYLE == "new" else f"{name} Latency is {ordered[place]:g}sec")
    if FAULT == "no result":
        print("failed to open result file")
        return
    with open(result, "a") as stream:
        for place, seconds in enumerate(times):
            more = f"{seconds:g}," if STYLE == "new" else ""
            stream.write(f"folder,{more}{seconds:g},{peak},50,{place}\n")
        stream.write(f"\nMin Latency: {ordered[0]:g} s\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
