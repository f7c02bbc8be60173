"""Which form of file each runtime takes, and how the name of such a file ends."""

from __future__ import annotations

FORMATS = {
    "onnxruntime": "onnx",
    "litert": "tflite",
    "tflite_runtime": "tflite",
    "torch": "pytorch",
    "benchmark_model": "tflite",
    "ort_perf_test": "onnx",
    "trtexec": "onnx",
    "simulated": "keys",
}
SUFFIX = {"onnx": ".onnx", "tflite": ".tflite", "pytorch": ".pt"}
