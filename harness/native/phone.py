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

    def mask(self, threads: int, which: str) -> str | None:
        """Return the big or the little cores for a number of threads as a hex mask, None where nobody can tell."""
        mask = android.taskset_mask(android.cores_for(android.tiers(self.clusters), threads, which))
        return None if mask == UNREADABLE else str(mask)

    def environment(self, *, may_pin: bool) -> Facts:
        """Return what kind of phone it is, its clusters, and which of its cores are fast and which slow, where a
        program may be kept to some of them."""
        said = [f"{','.join(map(str, one.cpus))}@{one.max_khz or UNREADABLE}" for one in self.clusters]
        found = {**android.properties(self.ask), "clusters": " ".join(said) or UNREADABLE}
        tiers = android.tiers(self.clusters)
        apart = {"tiers": " ".join(map(android.listed, tiers))} if may_pin and len(tiers) > 1 else {}
        return found | apart

    def state(self, files: Facts) -> Facts:
        """Return how it is doing: what its files say, and heat and battery as Android tells them.

        Few phones let a shell read the files of their sensors. Raises MeasurementRefused where the thermal status is
        overridden, DeviceLost.
        """
        heat = android.thermal(self.ask, self.device)
        if heat["temperature_c"] == UNREADABLE:
            heat["temperature_c"] = files.get("temperature_c", UNREADABLE)
        return {**files, **heat, **android.battery(self.ask)}
