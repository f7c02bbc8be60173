"""A new device from ten or twenty measured networks: what known devices say of a network, weighed by how they agree.

A Gaussian process over networks whose covariance is that of the known devices' log latencies: a ridge on all of them at
once, with a slope of its own for what they have in common. Ten points choose no dozen weights by themselves; which
devices to listen to and how far to trust them are averaged over instead, by leave-one-out error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ofa import score
from ofa.threads import on_one_thread
from ofa.twins import errors
from ofa.twins.samples import finite

Vector = NDArray[np.float64]
Rows = NDArray[np.int64]

FEWEST_NETWORKS = 5
# More networks than this are not compared with each other when some are chosen.
MOST_COMPARED = 800
# In units of the variance of what the devices have in common: what each says beside that, and what no device says.
OWN, NOISE = (0.2, 0.5), (0.02, 0.1)
DESIGN_OWN, DESIGN_NOISE, DESIGN_LEVEL = 1.0, 0.1, 10.0
# Below these a device is too unlike those known: its own table is worth the hours.
LEAST_RANKS, MOST_ERROR_PCT = 0.9, 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Process:
    """One conditioned process: devices it listens to, bool[D], and what it needs to predict."""

    devices: NDArray[np.bool_]
    own: float
    noise: float
    near: Vector
    solved: Vector
    inverse: Vector
    level: float
    variance: float
    left_out: Vector


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Predicts a new device's latency, ms, from known devices' latencies of the same networks, ms float64[n, D].

    ``card`` is JSON: leave-one-out errors and ranks, how much each known device counts, and whether to build a table.
    """

    centre: Vector
    spread: Vector
    processes: tuple[_Process, ...]
    weights: Vector
    measured: int
    card: dict[str, Any]

    def predict(self, known_ms: NDArray[np.floating]) -> Vector:
        """Return the predicted latency, ms float64[n], of networks that the known devices take ``known_ms`` for."""
        return np.asarray(np.exp(self._log(known_ms)[0]))

    def interval(self, known_ms: NDArray[np.floating], coverage: float = 0.9) -> tuple[Vector, Vector]:
        """Return the lower and upper end, ms, of an interval meant to hold a measurement with ``coverage``.

        Student's t about the averaged processes' mean; from so few networks its truth is that of the model: it has no
        guarantee, and `benchmarks/results/twins_transfer.json` says how often it held. Raises UsageInvalid for a
        coverage that is no share of cases.
        """
        from scipy.stats import t

        if not 0.0 < coverage < 1.0:
            raise errors.coverage_impossible(coverage)
        mean, variance = self._log(known_ms)
        half = t.ppf(0.5 + coverage / 2, self.measured - 2) * np.sqrt(variance)
        return np.asarray(np.exp(mean - half)), np.asarray(np.exp(mean + half))

    def _log(self, known_ms: NDArray[np.floating]) -> tuple[Vector, Vector]:
        """Return mean and variance of the log latency, float64[n] each: a mixture over the processes."""
        known = _logs(known_ms, len(self.centre))
        scaled = (known - self.centre) / self.spread
        found = [_predict(process, scaled[:, process.devices]) for process in self.processes]
        means, variances = np.stack([mean for mean, _ in found]), np.stack([variance for _, variance in found])
        mean = self.weights @ means
        return mean, self.weights @ (variances + (means - mean) ** 2)


@on_one_thread
def choose_networks(known_ms: NDArray[np.floating], count: int = 10) -> Rows:
    """Return the rows, int64[count], of the networks whose measurement on a new device would say most of the others.

    ``known_ms`` float64[N, D] are N possible networks on D known devices. Greedy: each choice is the one that lowers
    the summed variance of the process over all networks most (Krause et al. 2008, section 2: A-optimal design), so
    networks differ in what devices disagree about, not in size alone.
    """
    known = _logs(known_ms, None)
    if not 1 <= count <= len(known):
        raise errors.too_few_to_choose(count, offered=len(known))
    scaled = _scaled(known)[0]
    order = np.argsort(scaled.mean(axis=1), kind="stable")
    compared = order[np.linspace(0, len(order) - 1, min(len(order), max(MOST_COMPARED, count))).astype(np.int64)]
    covariance = _covariance(scaled[compared], scaled[compared], DESIGN_OWN) + DESIGN_LEVEL
    chosen: list[int] = []
    for _ in range(count):
        gain = (covariance**2).sum(axis=0) / (np.diag(covariance) + DESIGN_NOISE)
        gain[chosen] = -1.0
        best = int(np.argmax(gain))
        chosen.append(best)
        column = covariance[:, best].copy()
        covariance -= np.outer(column, column) / (column[best] + DESIGN_NOISE)
    return np.asarray(compared[chosen], dtype=np.int64)


@on_one_thread
def transfer(known_ms: NDArray[np.floating], rows: Rows, measured_ms: NDArray[np.floating]) -> Transfer:
    """Fit a new device to ``measured_ms`` float64[n], of the networks ``rows`` int64[n] of ``known_ms`` float64[N, D].

    All N networks scale the devices; ``choose_networks`` says which rows to measure. Raises UsageInvalid for values
    that are not latencies, rows that are not there, or fewer than 5 networks.
    """
    known, measured = _logs(known_ms, None), np.asarray(measured_ms, dtype=np.float64)
    at = np.asarray(rows, dtype=np.int64)
    if at.ndim != 1 or measured.shape != at.shape:
        raise errors.not_parallel("measured latencies", measured.shape, at.shape)
    if not np.isfinite(measured).all() or (measured <= 0).any():
        raise errors.not_a_number("measured latencies", "a positive number")
    if len(outside := at[(at < 0) | (at >= len(known))]):
        raise errors.row_unknown(int(outside[0]), known=len(known))
    if len(np.unique(at)) < FEWEST_NETWORKS:
        raise errors.too_few(len(np.unique(at)), needed=FEWEST_NETWORKS, of="measured networks")
    scaled, centre, spread = _scaled(known)
    goal = np.log(measured)
    processes = tuple(
        _condition(scaled[at], goal, devices, own, noise)
        for devices in _circles(scaled[at], goal)
        for own in OWN
        for noise in NOISE
    )
    off = np.array([np.abs(process.left_out).mean() for process in processes])
    weights = (off / max(float(off.min()), 1e-12) + 1e-12) ** -4.0
    weights = weights / weights.sum()
    left_out = goal - weights @ np.stack([process.left_out for process in processes])
    return Transfer(
        centre=centre,
        spread=spread,
        processes=processes,
        weights=weights,
        measured=len(measured),
        card=_card(processes, weights, measured, np.exp(left_out)),
    )


def _logs(known_ms: NDArray[np.floating], devices: int | None) -> Vector:
    """Return log latencies float64[n, D] after checking them."""
    known = np.asarray(known_ms, dtype=np.float64)
    if known.ndim != 2 or known.shape[1] != (known.shape[1] if devices is None else devices) or not known.shape[1]:
        expected = (known.shape[0] if known.ndim else 0, devices or 1)
        raise errors.not_parallel("known devices' latencies", known.shape, expected)
    if not np.isfinite(known).all() or (known <= 0).any():
        raise errors.not_a_number("known devices' latencies", "a positive number")
    return np.log(known)


def _scaled(known: Vector) -> tuple[Vector, Vector, Vector]:
    """Return log latencies with mean 0 and deviation 1 on each device, the means and the deviations."""
    centre, spread = known.mean(axis=0), known.std(axis=0)
    spread = np.where(spread > 1e-9, spread, np.inf)
    return (known - centre) / spread, centre, spread


def _covariance(one: Vector, other: Vector, own: float) -> Vector:
    """Return the prior covariance, float64[n, m]: what devices have in common on average, and each by itself."""
    return np.asarray(np.outer(one.mean(axis=1), other.mean(axis=1)) + own / one.shape[1] * one @ other.T)


def _circles(scaled: Vector, goal: Vector) -> list[NDArray[np.bool_]]:
    """Return which devices to listen to, bool[D] each: all, the half and the four that agree best with the new one."""
    deviation = scaled - scaled.mean(axis=0)
    size = np.sqrt((deviation**2).sum(axis=0) * ((goal - goal.mean()) ** 2).sum())
    agree = (deviation * (goal - goal.mean())[:, None]).sum(axis=0) / np.maximum(size, 1e-12)
    order = np.argsort(-agree, kind="stable")
    devices = scaled.shape[1]
    circles = []
    for count in dict.fromkeys((devices, min(devices, max(3, devices // 2)), min(devices, 4))):
        circle = np.zeros(devices, dtype=np.bool_)
        circle[order[:count]] = True
        circles.append(circle)
    return circles


def _condition(scaled: Vector, goal: Vector, devices: NDArray[np.bool_], own: float, noise: float) -> _Process:
    """Condition a process with unknown level and scale on measured log latencies (Rasmussen and Williams 2006, 2.7)."""
    near = scaled[:, devices]
    inverse = np.linalg.inv(_covariance(near, near, own) + noise * np.eye(len(goal))).astype(np.float64)
    shares = inverse.sum(axis=1)
    level = float(shares @ goal / shares.sum())
    solved = inverse @ (goal - level)
    # Exact with the level fitted anew without each network: Rasmussen and Williams 2006, equation 5.12.
    left_out = solved / np.diag(inverse - np.outer(shares, shares) / shares.sum())
    return _Process(
        devices=devices,
        own=own,
        noise=noise,
        near=near,
        solved=solved,
        inverse=inverse,
        level=level,
        variance=float((goal - level) @ solved) / (len(goal) - 1),
        left_out=left_out,
    )


def _predict(process: _Process, scaled: Vector) -> tuple[Vector, Vector]:
    """Return mean and variance of log latencies, float64[n] each; the level's own uncertainty is in the variance."""
    across = _covariance(scaled, process.near, process.own)
    shares = process.inverse.sum(axis=1)
    prior = scaled.mean(axis=1) ** 2 + process.own / scaled.shape[1] * (scaled**2).sum(axis=1) + process.noise
    known = np.einsum("ij,jk,ik->i", across, process.inverse, across)
    spread = prior - known + (1.0 - across @ shares) ** 2 / shares.sum()
    return process.level + across @ process.solved, process.variance * np.maximum(spread, 0.0)


def _card(processes: tuple[_Process, ...], weights: Vector, measured: Vector, left_out: Vector) -> dict[str, Any]:
    """Return what leave-one-out says of the transfer, and whether a table of the device's own is needed."""
    ranks, error_pct = score.spearman(left_out, measured), score.mape_pct(left_out, measured)
    counts = weights @ np.stack([process.devices / process.devices.sum() for process in processes])
    unlike = not ranks >= LEAST_RANKS or error_pct > MOST_ERROR_PCT
    return {
        "schema": "latency-transfer/1",
        "samples": len(measured),
        "left_out_spearman": finite(ranks),
        "left_out_mape_pct": finite(error_pct),
        "devices": [finite(share) for share in counts],
        "build_table": bool(unlike),
        "advice": (
            f"build a table of this device: left out one at a time, networks are ranked at {ranks:.2f} (at least"
            f" {LEAST_RANKS:g} is wanted) and missed by {error_pct:.1f} % (at most {MOST_ERROR_PCT:g} %)"
            if unlike
            else f"known devices are enough: ranks {ranks:.2f}, error {error_pct:.1f} %, left out one at a time"
        ),
    }
