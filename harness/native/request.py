"""What the host asks of the agent beside a device, checked as the agent on a device checks it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from harness.plan import LONGEST_SOAK_S, Kernels, Precision, Unit, Way
from ofa.errors import first_invalid

MOST_ITEMS = 20000
FileName = Annotated[str, Field(pattern=r"^([0-9a-f]{64}|empty|io)$")]
Token = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Threads = Annotated[int, Field(ge=1, le=1024)]


class Request(BaseModel):
    """One line from the host; what an agent of this kind has no use for is passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    id: int
    lease: Token | None = None


class Hello(Request):
    """Say what the device is, trying the runtimes named."""

    do: Literal["hello"]
    runtimes: Annotated[list[str], Field(max_length=16)] = []


class Rest(Request):
    """Do nothing for a while."""

    do: Literal["rest"]
    seconds: Annotated[float, Field(gt=0, le=60)]


class Lease(Request):
    """Hold the device for an owner."""

    do: Literal["lease"]
    owner: Annotated[str, Field(min_length=1, max_length=200)]
    token: Token
    ttl_s: Annotated[int, Field(ge=5, le=3600)]
    force: bool = False


class Release(Request):
    """Give the device back."""

    do: Literal["release"]
    token: Token


class Stop(Request):
    """Take leave."""

    do: Literal["stop"]


class Used(Request):
    """How networks are run."""

    runtime: str
    unit: Unit = "cpu"
    kernels: Kernels = "default"
    precision: Precision = "fp32"
    threads: Threads
    cores: Literal["big", "little"] | None = None

    @property
    def way(self) -> Way:
        """Return how networks are run."""
        return Way.of(self)


class Footprint(Used):
    """Say how much memory a process takes that calls one network."""

    do: Literal["footprint"]
    file: FileName


class Parameters(BaseModel):
    """The parameters of the protocol that mean something where each network has a process of its own."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    warm_calls: Annotated[int, Field(ge=1, le=100)]
    hot_bursts: Annotated[int, Field(ge=1, le=1000)]
    burst_least: Annotated[int, Field(ge=1, le=10000)]
    reference_every: Annotated[int, Field(ge=1, le=10000)]
    soak_s: Annotated[int, Field(ge=0, le=LONGEST_SOAK_S)]
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)]


class Bench(Used):
    """Time items, each [index, state, file], beside a reference and canaries."""

    do: Literal["bench"]
    parameters: Parameters
    items: Annotated[
        list[Annotated[list[Any], Field(min_length=3, max_length=3)]], Field(min_length=1, max_length=MOST_ITEMS)
    ]
    reference: FileName
    canaries: Annotated[dict[str, FileName], Field(max_length=8)] = {}

    @property
    def asked(self) -> list[tuple[int, str, str]]:
        """Return the items."""
        return [(index, state, file) for index, state, file in self.items]


ANY: TypeAdapter[Any] = TypeAdapter(
    Annotated[Hello | Rest | Lease | Release | Stop | Footprint | Bench, Field(discriminator="do")]
)
ITEMS: TypeAdapter[Any] = TypeAdapter(
    list[tuple[Annotated[int, Field(ge=0, le=MOST_ITEMS)], Literal["hot", "cold"], FileName]]
)


def parse(line: bytes) -> Any:
    """Return a checked request; raises ValueError with a short reason."""
    try:
        request = ANY.validate_json(line)
        if isinstance(request, Bench):
            ITEMS.validate_python([tuple(item) for item in request.items])
    except ValidationError as fault:
        raise ValueError(": ".join(first_invalid(fault, "request"))) from fault
    return request
