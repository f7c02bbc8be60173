"""What a phone says of itself beside its files, and which of its cores a program is pinned to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.transport import android
from harness.transport.android import UNREADABLE, Ask, Cluster

Facts = dict[str, Any]


@dataclass(slots=True, kw_only=True)
class Phone:
    """A phone, asked through its shell for as long as one conversation lasts."""

    device: str
    ask: Ask
    found: tuple[Cluster, ...] | None = None

    @property
    def clusters(self) -> tuple[Cluster, ...]:
        """Return its clusters, read once; raises DeviceLost."""
        if self.found is None:
            self.found = android.clusters(self.ask)
        return self.found

    def mask(self, threads: int) -> str | None:
        """Return the big cores for a number of threads as a hex mask, None where nobody can tell which they are."""
        mask = android.taskset_mask(android.big_cores(self.clusters, threads))
        return None if mask == UNREADABLE else str(mask)

    def environment(self) -> Facts:
        """Return what kind of phone it is, and its clusters: they and the threads say which cores a program gets."""
        said = [f"{','.join(map(str, one.cpus))}@{one.max_khz or UNREADABLE}" for one in self.clusters]
        return {**android.properties(self.ask), "clusters": " ".join(said) or UNREADABLE}

    def state(self, files: Facts) -> Facts:
        """Return how it is doing: what its files say, and heat and battery as Android tells them.

        Few phones let a shell read the files of their sensors. Raises MeasurementRefused where the thermal status is
        overridden, DeviceLost.
        """
        heat = android.thermal(self.ask, self.device)
        if heat["temperature_c"] == UNREADABLE:
            heat["temperature_c"] = files.get("temperature_c", UNREADABLE)
        return {**files, **heat, **android.battery(self.ask)}
