"""Names the GPU and what drives it, by asking the driver's own library: no package is needed for it."""

import ctypes
from typing import Any, NamedTuple, Tuple

DRIVER = "libcuda.so.1"
TENSORRT = ("libnvinfer.so.10", "libnvinfer.so.8", "libnvinfer.so")
# CUdevice_attribute of cuda.h: COMPUTE_CAPABILITY_MAJOR and _MINOR.
CAPABILITY = (75, 76)
NAME_BYTES = 256


class Gpu(NamedTuple):
    """The first GPU: its name, its compute capability ("8.7"), and the newest CUDA its driver runs ("12.6")."""

    name: str
    capability: str
    driver: str

    def says(self) -> str:
        """Return it as one line."""
        return "%s, compute %s, driver for CUDA %s" % self


def gpu() -> Gpu:
    """Return the first GPU; raises RuntimeError saying why there is none."""
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError:
        raise RuntimeError("there is no CUDA driver here (%s cannot be loaded)" % DRIVER)
    _checked(driver, "cuInit", 0)
    count, device, version = ctypes.c_int(0), ctypes.c_int(0), ctypes.c_int(0)
    _checked(driver, "cuDeviceGetCount", ctypes.byref(count))
    if count.value < 1:
        raise RuntimeError("the CUDA driver finds no GPU")
    _checked(driver, "cuDeviceGet", ctypes.byref(device), 0)
    name = ctypes.create_string_buffer(NAME_BYTES)
    _checked(driver, "cuDeviceGetName", name, NAME_BYTES, device)
    parts = []
    for attribute in CAPABILITY:
        part = ctypes.c_int(0)
        _checked(driver, "cuDeviceGetAttribute", ctypes.byref(part), attribute, device)
        parts.append(str(part.value))
    _checked(driver, "cuDriverGetVersion", ctypes.byref(version))
    whole, rest = version.value // 1000, version.value % 1000 // 10
    return Gpu(name.value.decode("utf-8", "replace"), ".".join(parts), "%d.%d" % (whole, rest))


def _checked(library: Any, name: str, *arguments: Any) -> None:
    """Call a function of the driver; raises RuntimeError with its error code."""
    code = getattr(library, name)(*arguments)
    if code != 0:
        raise RuntimeError("the CUDA driver answers %s with error %d" % (name, code))


def tensorrt_version() -> str:
    """Return the version of TensorRT ("10.3.0"); raises RuntimeError where its library cannot be loaded."""
    for name in TENSORRT:
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        return ".".join(map(str, version_parts(int(library.getInferLibVersion()))))
    raise RuntimeError("TensorRT cannot be loaded (none of %s)" % ", ".join(TENSORRT))


def version_parts(number: int) -> Tuple[int, int, int]:
    """Return major, minor and patch of NV_TENSORRT_VERSION: 8502 is 8.5.2, and since 10 it is 100300 for 10.3.0."""
    if number >= 100000:
        return number // 10000, number // 100 % 100, number % 100
    return number // 1000, number // 100 % 10, number % 100
