"""TorchScript files: equal to the numpy reference in torch, written without torch, quiet, and always the same bytes."""

from __future__ import annotations

import pickletools
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pytest

import ofa.space as spaces
from ofa.graphs import run
from ofa.graphs.ir import graph_of, random_weights
from ofa.graphs.pytorch import input_shape, write
from ofa.space.ops import Op, ops_of

TOLERANCE = 1e-4


def images(op: Op, count: int = 2) -> Any:
    rng = np.random.default_rng(5)
    return rng.standard_normal((count, op.in_channels, op.in_size, op.in_size), dtype=np.float32)


def test_every_form_of_op(op: Op, working: Any, reference: Any, parity: Callable[..., float]) -> None:
    found = run.load(write(graph_of([op])), working("torch"))(images(op))
    assert parity(found, reference([op], [random_weights(op)], images(op))) <= TOLERANCE


@pytest.mark.slow
def test_whole_networks(networks: list[tuple[Op, ...]], working: Any, reference: Any, parity: Any) -> None:
    working("torch")
    for ops in networks:
        found = run.load(write(graph_of(ops)), "torch")(images(ops[0], 1))
        expected = reference(ops, [random_weights(op) for op in ops], images(ops[0], 1))
        assert parity(found, expected) <= TOLERANCE


def test_loading_is_quiet_and_the_device_finds_the_input_shape(working: Any) -> None:
    working("torch")
    ops = ops_of(spaces.load("mobilenet_v3_tiny", channels=1).corner("min"))
    data = write(graph_of(ops))
    shape = (1, 1, ops[0].in_size, ops[0].in_size)
    assert input_shape(data) == shape
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run.load(data, "torch")(images(ops[0]))
    import torch

    extra: dict[str, Any] = {"input_shape": ""}
    torch.jit.load(BytesIO(data), _extra_files=extra)
    text = extra["input_shape"]
    assert (text.decode() if isinstance(text, bytes) else text) == ",".join(map(str, shape))


def test_the_archive_names_only_its_own_class_and_tensors(op: Op) -> None:
    """Loading must not be able to run anything: the pickle asks for these names alone."""
    archive = zipfile.ZipFile(BytesIO(write(graph_of([op]))))
    named = set()
    for record in ("network/data.pkl", "network/constants.pkl"):
        named |= {arg for code, arg, _ in pickletools.genops(archive.read(record)) if code.name == "GLOBAL"}
    assert named <= {
        "__torch__ Network", "torch FloatStorage", "torch._utils _rebuild_tensor_v2", "collections OrderedDict"
    }  # fmt: skip


def test_writing_needs_no_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import ofa.space as spaces\n"
        "from ofa.graphs import ir, pytorch\n"
        "from ofa.space.ops import ops_of\n"
        "ops = ops_of(spaces.load('mobilenet_v3_tiny').corner('min'))\n"
        "print(len(pytorch.write(ir.graph_of(ops))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100_000


def test_the_same_graph_gives_the_same_bytes(op: Op) -> None:
    assert write(graph_of([op])) == write(graph_of([op]))
    assert write(graph_of([op])) != write(graph_of([op], seed=1))
