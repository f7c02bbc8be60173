"""What a simulated device is made of: speeds, caches, heat, noise and faults, all of them known."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Machine(BaseModel):
    """A simulated device; the numbers are invented, of the size a phone's are.

    Speeds: ``macs_per_ns`` of convolutions that mix channels, ``depthwise_macs_per_ns`` of those that do not, both at
    the big cores and the full clock; ``bytes_per_ns`` inside the caches and ``dram_bytes_per_ns`` from memory, which no
    clock of the cores changes; ``layer_ns`` for each layer, ``session_ns`` for each call; loading takes ``load_ns``
    and the bytes of a network at ``storage_bytes_per_ns``. What has been pushed out of ``cache_bytes`` since a network
    ran last is read from memory again.

    ``power_mode`` names a mode in which the cores run at ``power_speed`` of the speeds above.

    Heat: towards ``ambient_c`` with time constant ``cooling_s``, up by ``heating_c_per_s`` while busy. Above
    ``throttle_c`` the cores' clock falls by ``throttle_per_c`` a degree, to ``throttle_floor`` at most.

    Noise: every call by ``call_noise`` (standard deviation of the log), a ``tail_share`` of calls much longer (Pareto,
    ``tail_scale`` of their own time); every network in every process by ``round_noise``; whole processes slow by
    ``slow_process_factor`` (a share of them), or on the little cores where nothing pins them; everything slower by
    ``drift_per_h``. ``preempted_per_s``: how often other work takes the core, for ``preemption_ns`` of wall time.

    Load: others keep ``foreign_cores`` busy until ``foreign_until_s`` of virtual time (None: for ever), and take the
    core as above until then only. Where ``foreign_cores`` is None the device does not tell how busy it is.

    Memory: ``runtime_bytes`` of the runtime alone; ``weight_copies`` of a network's parameters, and ``map_copies`` of
    the activations alive at once.

    An update: since then everything takes ``updated_factor`` times as long, and layers that filter each channel with a
    7 x 7 kernel ``updated_depthwise7_factor`` times; what the device says of itself does not tell it.

    ``die_after_calls``: the agent ends without a word after so many timed calls of a process.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    seed: Annotated[int, Field(ge=0)] = 0
    power_mode: Annotated[str, Field(min_length=1, max_length=20)] = "full"
    power_speed: Positive = 1.0
    pinned: bool = True

    macs_per_ns: Positive = 12.0
    depthwise_macs_per_ns: Positive = 2.5
    bytes_per_ns: Positive = 16.0
    dram_bytes_per_ns: Positive = 6.0
    layer_ns: NotNegative = 1500.0
    session_ns: NotNegative = 9000.0
    cache_bytes: Positive = 2e6
    load_ns: NotNegative = 3e6
    storage_bytes_per_ns: Positive = 0.5

    ambient_c: Positive = 25.0
    cooling_s: Positive = 60.0
    heating_c_per_s: NotNegative = 0.3
    throttle_c: Positive = 70.0
    throttle_per_c: NotNegative = 0.04
    throttle_floor: Share = 0.45

    call_noise: NotNegative = 0.01
    tail_share: Share = 0.03
    tail_scale: NotNegative = 0.5
    round_noise: NotNegative = 0.005
    slow_process_share: Share = 0.1
    slow_process_factor: Positive = 1.3
    little_share: Share = 0.5
    little_speed: Positive = 0.4
    drift_per_h: NotNegative = 0.0
    preempted_per_s: NotNegative = 0.0
    preemption_ns: NotNegative = 3e6

    foreign_cores: NotNegative | None = None
    foreign_until_s: NotNegative | None = None

    runtime_bytes: Positive = 24e6
    weight_copies: NotNegative = 2.1
    map_copies: NotNegative = 1.4

    updated_factor: Positive = 1.0
    updated_depthwise7_factor: Positive = 1.0

    die_after_calls: Annotated[int, Field(ge=1)] | None = None
