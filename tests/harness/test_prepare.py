"""From a space to a plan: ways of running that are there or refused, int8 files as they stand inside a network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import ofa.space as spaces
from harness import journal as journals
from harness.artefacts import Artefacts, File, boundaries
from harness.inventory import Device, simulated
from harness.networks import middle
from harness.plan import Plan, Rounds, RuntimeName, Way
from harness.prepare import bench_plan, check_unit, check_way
from harness.protocol import Clocks, Hello, Runtime, UnitFound
from harness.reduce import table
from harness.session import environment_of, ready_runtime, run
from harness.ways import USES, settled
from ofa.errors import MeasurementRefused, PackageMissing, UsageInvalid
from ofa.lut.header import environment_id
from ofa.space.index import ops_in
from ofa.space.ops import Op, ops_of

SPACE = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)
# One op of every kind, and of every form a block has; the smallest of each.
KINDS: list[Op] = list(
    {
        (op.kind, op.act, op.se, op.stride, op.in_channels == op.out_channels): op
        for op in sorted(ops_in(SPACE), key=lambda op: -op.macs)
    }.values()
)
QUICK = Rounds(
    cold_cycles=2, hot_bursts=1, burst_least=1, burst_most=2, canary_calls=2, canary_us=0, redo_most=0, rounds_most=1
)
INT8 = Way(precision="int8")


def plan_of(device: Device, runtime: RuntimeName, way: Way, ops: list[Op]) -> Plan:
    subnet = middle(SPACE)
    return bench_plan(
        device, runtime, Artefacts(device.transport.files), ops=ops, networks=[(subnet, "fit")], reference=subnet,
        way=way, seed=0, rounds=1, protocol=QUICK,
    )  # fmt: skip


@pytest.fixture
def quantizer(tmp_path: Path) -> None:
    """Skip where int8 files cannot be written here."""
    for package in ("onnx", "onnxruntime", "flatbuffers"):
        pytest.importorskip(package, reason=f"the package '{package}' is not installed")
    try:
        Artefacts(tmp_path).for_op(KINDS[-1], Runtime(name="onnxruntime", version="1", ready=True), "int8")
    except PackageMissing as fault:
        pytest.skip(f"{fault.what}: {fault.why}")


@pytest.mark.slow
@pytest.mark.usefixtures("quantizer")
@pytest.mark.parametrize(
    ("runtime", "way"),
    [
        ("onnxruntime", INT8),
        ("onnxruntime", Way(precision="int8", threads=2)),
        ("litert", INT8),
        ("litert", Way(precision="int8", kernels="builtin")),
        ("litert", Way(kernels="builtin")),
    ],
    ids=str,
)
def test_every_kind_of_op_runs(device: Device, runtime: RuntimeName, way: Way, tmp_path: Path) -> None:
    pytest.importorskip({"litert": "ai_edge_litert"}.get(runtime, runtime), reason=f"needs {runtime}")
    assert {op.kind for op in KINDS} == {op.kind for op in ops_in(SPACE)} and len(KINDS) > 6
    plan = plan_of(device, runtime, way, KINDS)
    with journals.resume(tmp_path / "journal.sqlite", plan) as journal:
        run(plan, device=device, journal=journal)
        assert not journal.failures()
        lut = table(journal)
    assert {row.key for row in lut.rows} >= {"@session", "@io"} | {op.key for op in KINDS} and all(
        row.ns for row in lut.rows
    )
    environment = lut.header.environment
    assert (environment["kernels"], environment["precision"], environment["threads"]) == (
        way.kernels, way.precision, way.threads,
    )  # fmt: skip
    usual = "cpu" if runtime == "onnxruntime" else "xnnpack"
    slug = f"{usual if way.kernels == 'default' else 'builtin'}-{way.threads}t"
    assert lut.header.conditions.startswith(slug) and lut.header.precision == way.precision


def types_of(path: Path, runtime: str) -> tuple[str, str]:
    """Return the element types of a file's input and output, as its runtime tells them."""
    if runtime == "onnxruntime":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return session.get_inputs()[0].type[7:-1].replace("32", ""), session.get_outputs()[0].type[7:-1]
    from ai_edge_litert.interpreter import Interpreter

    network = Interpreter(model_path=str(path))
    names = [details[0]["dtype"].__name__ for details in (network.get_input_details(), network.get_output_details())]
    return names[0].replace("float32", "float"), names[1].replace("float32", "float")


@pytest.mark.slow
@pytest.mark.usefixtures("quantizer")
@pytest.mark.parametrize("runtime", ["onnxruntime", "litert"])
def test_an_int8_op_has_the_boundaries_it_has_in_a_network(runtime: str, tmp_path: Path) -> None:
    pytest.importorskip({"litert": "ai_edge_litert"}.get(runtime, runtime), reason=f"needs {runtime}")
    artefacts = Artefacts(tmp_path / "files")
    about = Runtime(name=runtime, version="1", ready=True)
    expected = {"stem": ("float", "int8"), "mbconv": ("int8", "int8"), "head": ("int8", "float")}
    for op in KINDS:
        built = artefacts.for_op(op, about, "int8")
        assert types_of(artefacts.path(built.name), runtime) == expected[op.kind], op.key
        assert built != artefacts.for_op(op, about)
    whole = artefacts.for_network(ops_of(middle(SPACE)), about, "int8")
    assert types_of(artefacts.path(whole.name), runtime) == ("float", "float")


@pytest.mark.slow
@pytest.mark.usefixtures("quantizer")
@pytest.mark.parametrize("runtime", ["onnxruntime", "litert"])
def test_an_int8_file_is_the_same_again(runtime: str, tmp_path: Path) -> None:
    about = Runtime(name=runtime, version="1", ready=True)
    made: list[File] = [Artefacts(tmp_path / name).for_op(KINDS[0], about, "int8") for name in ("a", "b")]
    assert made[0] == made[1]


@pytest.mark.slow
@pytest.mark.usefixtures("quantizer")
def test_tensorrt_gets_integers_without_zero_points(tmp_path: Path) -> None:
    """Both the files of a plan and those that are verified, which a user exported with them."""
    about, way = Runtime(name="onnxruntime", version="1", ready=True), Way(unit="gpu", kernels="tensorrt")
    assert way.file_precision == "fp32" and replace(way, precision="int8").file_precision == "int8_symmetric"
    assert Way(precision="int8").file_precision == "int8" and Way(precision="fp16").file_precision == "fp32"
    artefacts, usual = Artefacts(tmp_path / "files"), Artefacts(tmp_path / "usual")
    made = artefacts.for_op(KINDS[0], about, "int8_symmetric")
    plain = usual.for_op(KINDS[0], about, "int8")
    assert artefacts.store_file(usual.path(plain.name), "int8_symmetric") == made != plain
    assert usual.store_file(usual.path(plain.name), "int8") == plain


def test_a_residual_network_keeps_its_boundaries() -> None:
    ops = ops_of(spaces.load("resnet50").corner("min"))
    assert boundaries(ops) == {"takes_int8": False, "gives_int8": False}
    assert boundaries(ops[:1]) == {"takes_int8": False, "gives_int8": True}
    assert boundaries(ops[1:2]) == {"takes_int8": True, "gives_int8": True}


REFUSED: dict[str, tuple[RuntimeName, dict[str, Any], str]] = {
    "kernels of a runtime without them": ("onnxruntime", {"kernels": "builtin"}, "no kernels called 'builtin'"),
    "a unit no runtime of it drives": ("torch", {"unit": "npu"}, "not measured on the npu"),
    "a unit that is not offered": ("litert", {"unit": "gpu"}, "at unit gpu"),
    "kernels of another unit": ("onnxruntime", {"kernels": "tensorrt"}, "no kernels called 'tensorrt' on the cpu"),
    "fp16 without its kernels": (
        "onnxruntime",
        {"unit": "gpu", "kernels": "cuda", "precision": "fp16"},
        "cannot be measured in fp16",
    ),
    "kernels of torch": ("torch", {"kernels": "builtin"}, "no kernels called 'builtin'"),
    "a precision no writer knows": ("torch", {"precision": "int8"}, "cannot be measured in int8"),
    "fp16": ("litert", {"precision": "fp16"}, "cannot be measured in fp16"),
    "more threads than are offered": ("litert", {"threads": 64}, "at 64 threads"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_way_that_is_not_there_is_refused(device: Device, name: str) -> None:
    runtime, parts, said = REFUSED[name]
    with pytest.raises(UsageInvalid, match=said) as fault:
        check_way(device, runtime, Way(**parts))
    assert fault.value.why and fault.value.hints


def test_a_profile_says_which_precisions_and_threads(device: Device, tmp_path: Path) -> None:
    offer = device.profile.runtimes["litert"].model_copy(update={"precisions": ("fp32",), "threads": (2,)})
    profile = device.profile.model_copy(update={"runtimes": {"litert": offer}})
    narrow = Device(profile=profile, transport=device.transport)
    with pytest.raises(UsageInvalid, match="at int8"):
        check_way(narrow, "litert", INT8)
    with pytest.raises(UsageInvalid, match="at 1 threads"):
        check_way(narrow, "litert", Way())
    check_way(narrow, "litert", Way(threads=2, kernels="builtin"))
    with pytest.raises(UsageInvalid, match="not used with runtime 'torch'"):
        check_way(narrow, "torch", Way())
    with pytest.raises(UsageInvalid, match="cannot be measured in int8"):
        check_way(simulated(tmp_path / "files"), "simulated", INT8)


def with_units(device: Device, runtime: RuntimeName) -> Device:
    offer = device.profile.runtimes[runtime].model_copy(
        update={"units": ("cpu", "gpu"), "precisions": ("fp32", "fp16")}
    )
    return Device(profile=device.profile.model_copy(update={"runtimes": {runtime: offer}}), transport=device.transport)


def test_a_unit_has_to_be_found_on_the_device(device: Device) -> None:
    able = with_units(device, "onnxruntime")
    gpu = Way(unit="gpu", kernels="tensorrt", precision="fp16")
    check_way(able, "onnxruntime", gpu)
    about = Runtime(name="onnxruntime", version="1", ready=True)
    check_unit(able, about, Way())
    with pytest.raises(MeasurementRefused, match="cannot use the gpu") as fault:
        check_unit(able, about, gpu)
    assert "does not know of any gpu" in fault.value.why
    found = UnitFound(ready=False, says="there is no CUDA driver here")
    with pytest.raises(MeasurementRefused) as fault:
        check_unit(able, about.model_copy(update={"units": {"gpu": found}}), gpu)
    assert fault.value.why == found.says
    found = UnitFound(ready=True, says="a GPU", kernels=["cuda"])
    with pytest.raises(MeasurementRefused) as fault:
        check_unit(able, about.model_copy(update={"units": {"gpu": found}}), gpu)
    assert "not tensorrt" in fault.value.why


def test_one_way_has_one_name() -> None:
    assert settled("onnxruntime", Way(unit="gpu")) == Way(unit="gpu", kernels="cuda")
    for runtime, uses in USES.items():
        assert settled(runtime, Way()) == Way() and ("cpu" in uses) == (runtime != "trtexec")
    assert settled("torch", Way(unit="gpu")) == Way(unit="gpu")
    assert Way(unit="gpu", precision="fp16").file_precision == "fp32"


@pytest.mark.slow
def test_a_gpu_that_is_not_there_is_refused_before_anything_is_built(device: Device) -> None:
    pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    able = with_units(device, "onnxruntime")
    _, about = ready_runtime(able, "onnxruntime")
    if about.units["gpu"].ready:
        pytest.skip("this computer has a GPU that onnxruntime can use")
    with pytest.raises(MeasurementRefused, match="cannot use the gpu"):
        plan_of(able, "onnxruntime", Way(unit="gpu", kernels="cuda"), KINDS[:1])
    assert not [path for path in able.transport.files.rglob("*") if len(path.name) == 64]


def test_the_environment_names_what_computes(device: Device) -> None:
    hello = Hello(
        id=1, ev="hello", protocol=2, boot_id="", environment={"cpu": "A"}, state={}, runtimes=[],
        clocks=Clocks(wall_clock="w", wall_cost_ns=0, cpu_clock="c", cpu_cost_ns=0),
    )  # fmt: skip
    about = Runtime(
        name="onnxruntime", version="1", ready=True, units={"gpu": UnitFound(ready=True, says="Orin, TensorRT 10.3.0")}
    )
    on_gpu, on_cpu = (environment_of(hello, about, Way(unit=unit), "burst") for unit in ("gpu", "cpu"))
    assert (on_gpu["unit"], on_gpu["accelerator"]) == ("gpu", "Orin, TensorRT 10.3.0")
    assert on_cpu["unit"] == "cpu" and "accelerator" not in on_cpu
    assert environment_id(on_gpu) != environment_id(on_cpu)
