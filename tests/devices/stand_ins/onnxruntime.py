"""A stand-in for onnxruntime with a GPU: it runs nothing and times nothing, and notes what it was asked for.

It is test code: nothing it says is a measurement. A network whose file says "partial" has two nodes that TensorRT does
not take.
"""

import json
from typing import Any

__version__ = "1.22.0"
SAID: list[str] = []
SETTINGS: list[dict[str, str]] = []
LEFT = [("HardSwish", "act_1"), ("Resize", "up_2")]


def get_available_providers() -> list[str]:
    return ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]


class SessionOptions:
    def __init__(self) -> None:
        self.entries: dict[str, str] = {}
        self.enable_profiling = False
        self.profile_file_prefix = ""

    def add_session_config_entry(self, name: str, value: str) -> None:
        self.entries[name] = value


class Tensor:
    type = "tensor(float)"
    shape = (1, 4)

    def __init__(self, name: str) -> None:
        self.name = name


class OrtValue:
    def __init__(self, where: str) -> None:
        self.where = where

    @classmethod
    def ortvalue_from_numpy(cls, value: Any, where: str = "cpu", place: int = 0) -> "OrtValue":
        return cls(where)

    @classmethod
    def ortvalue_from_shape_and_type(cls, shape: Any, kind: Any, where: str = "cpu", place: int = 0) -> "OrtValue":
        return cls(where)


class Binding:
    def __init__(self) -> None:
        self.source = self.sink = "nowhere"

    def bind_cpu_input(self, name: str, value: Any) -> None:
        SAID.append(f"copy {name}")
        self.source = "cpu"

    def bind_ortvalue_input(self, name: str, value: OrtValue) -> None:
        self.source = value.where

    def bind_ortvalue_output(self, name: str, value: OrtValue) -> None:
        self.sink = value.where

    def synchronize_outputs(self) -> None:
        SAID.append("wait")


class InferenceSession:
    def __init__(
        self,
        source: Any,
        options: SessionOptions,
        providers: list[str],
        provider_options: list[dict[str, str]] | None = None,
        enable_fallback: int = 1,
    ) -> None:
        self.options, self.provider = options, providers[0]
        SETTINGS.extend(provider_options or [])
        with open(source, "rb") if isinstance(source, str) else open("/dev/null", "rb") as stream:
            self.partial = stream.read() == b"partial"
        if self.partial and options.entries.get("session.disable_cpu_ep_fallback") == "1":
            raise RuntimeError("This session contains graph nodes that are assigned to the default CPU EP")

    def get_providers(self) -> list[str]:
        return [self.provider, "CPUExecutionProvider"]

    def get_inputs(self) -> list[Tensor]:
        return [Tensor("x")]

    def get_outputs(self) -> list[Tensor]:
        return [Tensor("y")]

    def io_binding(self) -> Binding:
        return Binding()

    def run(self, names: Any, feeds: dict[str, Any]) -> None:
        assert set(feeds) == {"x"}

    def run_with_iobinding(self, binding: Binding) -> None:
        SAID.append(f"run from {binding.source} to {binding.sink}")

    def end_profiling(self) -> str:
        path = self.options.profile_file_prefix + "_1.json"
        nodes = [("Conv", "conv_0", self.provider)]
        nodes += [(*node, "CPUExecutionProvider") for node in LEFT] if self.partial else []
        events: list[dict[str, Any]] = [{"cat": "Session", "name": "model_run", "args": {}}]
        for op, name, provider in nodes:
            facts = {"op_name": op, "provider": provider}
            events.append({"cat": "Node", "name": f"{name}_kernel_time", "args": facts})
        with open(path, "w") as stream:
            json.dump(events, stream)
        return path
