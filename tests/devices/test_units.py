"""Networks on a unit that is not the CPU: where there is none the agent says why; placement is found by real profiles
and real delegates, a GPU is a stand-in object that says so."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ofa.space as spaces
from harness.artefacts import build
from harness.networks import middle
from harness.protocol import Runtime, UnitFound
from harness.reduce import UNSUPPORTED
from ofa.space.ops import ops_of

Exchange = Callable[..., tuple[list[dict[str, Any]], int]]
Inside = Callable[[str], Any]
STAND_INS = Path(__file__).parent / "stand_ins"
SPACE = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)


@pytest.fixture
def python() -> str:
    return sys.executable


def asked(number: int, **changes: object) -> bytes:
    request = {"do": "footprint", "runtime": "onnxruntime", "kernels": "default", "threads": 1, "file": "empty"}
    return json.dumps({"id": number, **request, **changes}).encode() + b"\n"


def test_a_unit_and_a_precision_are_words_of_a_short_list(exchange: Exchange, python: str) -> None:
    records, _ = exchange(python, asked(1, unit="tpu") + asked(2, unit=None) + asked(3, precision="fp8"))
    assert [record["ev"] for record in records] == ["error"] * 3
    assert [record["reason"].split()[0] for record in records] == ["'unit'", "'unit'", "'precision'"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("runtime", "unit", "said"),
    [
        ("onnxruntime", "gpu", "CUDAExecutionProvider"),
        ("onnxruntime", "npu", "trtexec"),
        ("torch", "gpu", "finds no GPU"),
        ("torch", "npu", "no npu"),
        ("litert", "gpu", "OFA_GPU_DELEGATE"),
        ("litert", "npu", "OFA_NPU_DELEGATE"),
    ],
)
def test_this_computer_says_why_it_cannot(exchange: Exchange, python: str, runtime: str, unit: str, said: str) -> None:
    pytest.importorskip({"litert": "ai_edge_litert"}.get(runtime, runtime), reason=f"needs {runtime}")
    hello = json.dumps({"id": 1, "do": "hello", "runtimes": [runtime]}).encode() + b"\n"
    records, _ = exchange(
        python, hello + asked(2, runtime=runtime, unit=unit), OFA_GPU_DELEGATE="", OFA_NPU_DELEGATE=""
    )
    about = Runtime.model_validate(records[0]["runtimes"][0])
    found = about.units[unit]  # type: ignore[index]
    if found.ready:
        pytest.skip(f"this computer has a {unit} for {runtime}: {found.says}")
    assert about.ready and isinstance(found, UnitFound) and found.says
    assert records[1]["peak_rss_kib"] is None and said in records[1]["reason"]


def test_a_delegate_is_known_by_its_content(inside: Inside, tmp_path: Path) -> None:
    library = tmp_path / "libsome_delegate.so"
    library.write_bytes(b"not a library")
    said = inside(
        f"import os; os.environ['OFA_GPU_DELEGATE'] = {str(library)!r}; os.environ['OFA_NPU_DELEGATE'] = '/absent'\n"
        "from runtimes import litert; print(json.dumps([litert._unit('gpu'), litert._unit('npu')]))"
    )
    assert said[0]["ready"] and said[0]["says"].startswith("libsome_delegate.so, sha256 ")
    assert not said[1]["ready"] and "names no file" in said[1]["says"]


def tflite(count: int, precision: str) -> bytes:
    """Return the first ops of a network as a TFLite file."""
    about = Runtime(name="litert", version="1", ready=True)
    return build(ops_of(middle(SPACE))[:count], about, precision)  # type: ignore[arg-type]


@pytest.mark.slow
def test_ops_outside_a_real_delegate_are_named(inside: Inside, tmp_path: Path) -> None:
    """XNNPACK stands where a GPU's delegate would: its interpreter says what it took over in the same way."""
    pytest.importorskip("ai_edge_litert", reason="needs litert")
    path = tmp_path / "file.tflite"
    path.write_bytes(tflite(3, "fp32"))
    whole, none = inside(
        "from ai_edge_litert.interpreter import Interpreter, OpResolverType\nfrom runtimes import litert\n"
        "def left(**options):\n"
        f"    interpreter = Interpreter(model_path={str(path)!r}, **options)\n    interpreter.allocate_tensors()\n"
        "    return litert.outside(interpreter._get_ops_details())\n"
        "plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES\n"
        "print(json.dumps([left(), left(experimental_op_resolver_type=plain)]))"
    )
    assert whole == [] and len(none) > 5 and none[0] == "PAD 0"


def test_ops_before_and_behind_a_delegate_are_outside(inside: Inside) -> None:
    """One that took the middle of three; the fourth is beside it. Ops as an interpreter lists them."""
    assert inside(
        "from runtimes import litert\n"
        "def op(index, name, inputs, outputs):\n"
        "    return {'index': index, 'op_name': name, 'inputs': inputs, 'outputs': outputs}\n"
        "ops = [op(0, 'PAD', [0], [1]), op(1, 'CONV_2D', [1, 9], [2]), op(2, 'ADD', [2, 1], [3]),\n"
        "       op(3, 'MEAN', [1], [4]), op(4, 'DELEGATE', [1, 9], [2])]\n"
        "print(json.dumps(litert.outside(ops)))"
    ) == ["PAD 0", "ADD 2", "MEAN 3"]


PLACED = """
import base64
from runtimes import onnxruntime as adapter
from runtimes.way import Unsupported, Way
import onnxruntime
adapter.PROVIDERS = {"cuda": "AzureExecutionProvider"}
try:
    adapter._placed(onnxruntime, base64.b64decode(adapter.EMPTY_NETWORK), Way(unit="gpu", kernels="cuda"), None)
    said = "nothing"
except Exception as fault:
    said = "%s: %s" % (type(fault).__name__, fault)
print(json.dumps(said))
"""


@pytest.mark.slow
def test_nodes_that_fall_to_the_cpu_are_named_by_the_real_runtime(inside: Inside) -> None:
    """A provider that every build has and that runs nothing of ours stands where CUDA would."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    if "AzureExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has no provider that leaves a node to the CPU")
    said = inside(PLACED)
    assert said.startswith("Unsupported: 1 of its nodes do not run on AzureExecutionProvider: Relu ")
    old = PLACED.replace("try:", "adapter.placement.can_refuse = lambda version: False\ntry:")
    assert inside(old) == said


def test_a_runtime_that_drops_a_provider_is_found_out(inside: Inside) -> None:
    snippet = (
        "from runtimes import onnxruntime as adapter\n"
        "class Session(object):\n    def get_providers(self): return ['CPUExecutionProvider']\n"
        "try: adapter._taken(Session(), 'CUDAExecutionProvider')\n"
        "except RuntimeError as fault: print(json.dumps(str(fault)))"
    )
    assert "and not CUDAExecutionProvider" in inside(snippet)


@pytest.mark.parametrize(
    ("way", "said"),
    [
        ("unit='npu', kernels='tensorrt'", "trtexec"),
        ("unit='gpu', kernels='builtin'", "no kernels called 'builtin'"),
        ("unit='gpu', kernels='cuda', precision='fp16'", "in fp16"),
        ("unit='gpu', kernels='cuda', precision='int8'", "in int8"),
        ("unit='cpu', precision='fp16'", "in fp16"),
        ("unit='cpu', kernels='cuda'", "no kernels called 'cuda'"),
    ],
)
def test_onnxruntime_refuses_ways_it_has_not(inside: Inside, way: str, said: str) -> None:
    pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    snippet = (
        "from runtimes import onnxruntime as adapter\nfrom runtimes.way import Way\n"
        f"try: adapter.load_bare('empty', Way({way}))\n"
        "except ValueError as fault: print(json.dumps(str(fault)))"
    )
    assert said in inside(snippet)


def with_stand_in(name: str, code: str) -> str:
    """Return a snippet that runs with a stand-in module, which is no runtime, in the place of one."""
    return (
        "import sys, importlib.util\n"
        f"spec = importlib.util.spec_from_file_location({name!r}, {str(STAND_INS / name)!r} + '.py')\n"
        f"stand_in = importlib.util.module_from_spec(spec)\nspec.loader.exec_module(stand_in)\n"
        f"sys.modules[{name!r}] = stand_in\nfrom runtimes.way import Unsupported, Way\n"
        "from runtimes import cuda\ncuda.gpu = lambda: cuda.Gpu('Stand-in GPU', '8.7', '12.6')\n"
        "cuda.tensorrt_version = lambda: '10.3.0'\n" + code
    )


def test_a_gpu_session_of_onnxruntime_copies_nothing_and_waits(inside: Inside, tmp_path: Path) -> None:
    facts, empty, io = inside(
        with_stand_in(
            "onnxruntime",
            "from runtimes import onnxruntime as adapter\n"
            "facts = adapter.about()['units']\nsaid = []\n"
            "for name in ('empty', 'io'):\n"
            "    run = adapter.load_bare(name, Way(unit='gpu', kernels='tensorrt', precision='fp16'))\n"
            "    del stand_in.SAID[:]\n    run(); run()\n    said.append(list(stand_in.SAID))\n"
            "print(json.dumps([facts] + said))",
        )
    )
    assert facts["gpu"] == {
        "ready": True, "kernels": ["cuda", "tensorrt"],
        "says": "Stand-in GPU, compute 8.7, driver for CUDA 12.6, TensorRT 10.3.0",
    }  # fmt: skip
    assert empty == ["run from cuda to cuda", "wait"] * 2
    assert io == ["copy x", "run from cpu to cpu", "wait"] * 2


def test_engines_are_kept_apart_by_tensorrt_and_gpu(inside: Inside, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"whole")
    settings = inside(
        with_stand_in(
            "onnxruntime",
            "from runtimes import onnxruntime as adapter\nsaid = []\n"
            "for version, precision in (('10.3.0', 'int8'), ('8.5.2', 'fp32')):\n"
            "    cuda.tensorrt_version = lambda: version\n"
            f"    adapter.load({str(tmp_path / 'file')!r}, Way(unit='gpu', kernels='tensorrt', precision=precision))\n"
            "    said.append(stand_in.SETTINGS[-1])\n"
            "print(json.dumps(said))",
        )
    )
    one, other = (entry.pop("trt_engine_cache_path") for entry in settings)
    assert one.endswith("engines/10.3.0-Stand-in_GPU_compute_8.7_driver_for_CUDA_12.6") and Path(one).is_dir()
    assert other.endswith("engines/8.5.2-Stand-in_GPU_compute_8.7_driver_for_CUDA_12.6") and one != other
    assert [(entry["trt_int8_enable"], entry["trt_fp16_enable"]) for entry in settings] == [
        ("True", "False"), ("False", "False"),
    ]  # fmt: skip
    assert all(entry["trt_engine_cache_enable"] == entry["trt_timing_cache_enable"] == "True" for entry in settings)


def test_nodes_that_tensorrt_leaves_are_named(inside: Inside, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"partial")
    for version in ("1.22.0", "1.10.0"):
        said = inside(
            with_stand_in(
                "onnxruntime",
                f"stand_in.__version__ = {version!r}\nfrom runtimes import onnxruntime as adapter\n"
                f"try: adapter.load({str(tmp_path / 'file')!r}, Way(unit='gpu', kernels='tensorrt'))\n"
                "except Unsupported as fault: print(json.dumps(str(fault)))",
            )
        )
        assert said == "2 of its nodes do not run on TensorrtExecutionProvider: HardSwish act_1, Resize up_2"


def test_torch_on_a_gpu_waits_for_its_event(inside: Inside) -> None:
    said = inside(
        with_stand_in(
            "torch",
            "from runtimes import torch as adapter\n"
            "run = adapter.load_bare('empty', Way(unit='gpu', precision='fp16'))\n"
            "del stand_in.SAID[:]\nrun()\nsaid = list(stand_in.SAID)\n"
            "copies = adapter.load_bare('io', Way(unit='gpu'))\ndel stand_in.SAID[:]\ncopies()\n"
            "print(json.dumps([adapter.about()['units']['gpu'], said, list(stand_in.SAID)[:3]]))",
        )
    )
    assert said[0]["ready"] and said[0]["says"].startswith("Stand-in GPU, compute 8.7, CUDA 12.6")
    assert said[1] == ["network on cuda in half", "record", "synchronize"]
    assert said[2] == ["to cuda", "network on cuda", "to cpu"]


def test_torch_finds_out_calls_that_nothing_waited_for(inside: Inside) -> None:
    said = inside(
        with_stand_in(
            "torch",
            "stand_in.WORK_MS = 1e6\nfrom runtimes import torch as adapter\n"
            "try: adapter.load_bare('empty', Way(unit='gpu'))\n"
            "except RuntimeError as fault: print(json.dumps(str(fault)))",
        )
    )
    assert "was not waited for" in said


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_torch_runs_on_a_real_gpu(exchange: Exchange, python: str, precision: str) -> None:
    torch = pytest.importorskip("torch", reason="needs torch")
    if not torch.cuda.is_available():
        pytest.skip("no GPU that PyTorch can use")
    records, _ = exchange(python, asked(1, runtime="torch", unit="gpu", precision=precision))
    assert records[0]["reason"] is None


def test_where_another_unit_computes_the_cpus_clock_is_none(inside: Inside) -> None:
    said = inside("import timing; print(json.dumps([timing.clocks(1, unit).cpu_name for unit in ('gpu', 'cpu')]))")
    assert said == ["unreadable", "thread"]


def test_versions_of_tensorrt(inside: Inside) -> None:
    """8502 and 100300 as NvInferVersion.h computes them for 8.5.2 and 10.3.0."""
    said = inside("from runtimes import cuda; print(json.dumps([cuda.version_parts(n) for n in (8502, 100300, 7103)]))")
    assert said == [[8, 5, 2], [10, 3, 0], [7, 1, 3]]


def test_a_gpu_is_named_by_its_driver(inside: Inside) -> None:
    """The driver's library is a stand-in here: functions that fill in what they are given, as cuda.h says."""
    snippet = """
import ctypes
from runtimes import cuda
class Driver(object):
    fault = 0
    def cuInit(self, flags): return self.fault
    def cuDeviceGetCount(self, count): count._obj.value = self.count; return 0
    def cuDeviceGet(self, device, place): device._obj.value = 0; return 0
    def cuDeviceGetName(self, name, most, device): name.value = b"Orin"; return 0
    def cuDeviceGetAttribute(self, value, which, device): value._obj.value = {75: 8, 76: 7}[which]; return 0
    def cuDriverGetVersion(self, version): version._obj.value = 12060; return 0
said = []
for fault, count in ((0, 1), (999, 1), (0, 0)):
    Driver.fault, Driver.count = fault, count
    ctypes.CDLL = lambda name: Driver()
    try: said.append(cuda.gpu().says())
    except RuntimeError as reason: said.append(str(reason))
print(json.dumps(said))
"""
    assert inside(snippet) == [
        "Orin, compute 8.7, driver for CUDA 12.6",
        "the CUDA driver answers cuInit with error 999",
        "the CUDA driver finds no GPU",
    ]


def test_a_network_that_runs_in_part_gets_a_row_of_its_own_status(inside: Inside) -> None:
    reasons = inside(
        "import runtimes; from runtimes.way import left_over\n"
        "faults = [left_over(['Add %d' % place for place in range(9)], 'a GPU'), ValueError('unsupported: no')]\n"
        "print(json.dumps([runtimes.describe(fault) for fault in faults]))"
    )
    assert reasons[0].startswith(UNSUPPORTED) and reasons[0].endswith("Add 5 and 3 more")
    assert not reasons[1].startswith(UNSUPPORTED)
