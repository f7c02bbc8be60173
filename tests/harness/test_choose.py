"""What is said of a chosen network: an interval for other images than the labels are of."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import ofa.space as spaces
from harness.choose import Twins, sampled
from ofa.space import sample
from ofa.twins import accuracy

SPACE = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)


class Latency:
    """Stands for a latency twin."""

    def predict(self, genomes: Any) -> Any:
        return np.ones(len(genomes))


@pytest.mark.slow
def test_an_interval_counts_the_images_that_both_accuracies_are_of() -> None:
    genomes = sample.unique(sample.random(SPACE, 80, np.random.default_rng(0)))
    top1 = 90 + np.random.default_rng(1).normal(0, 0.5, len(genomes))
    twin = accuracy.fit(SPACE, genomes, top1, seed=0)
    given: dict[str, Any] = {"accuracy": twin, "latency": Latency(), "coverage": 0.9, "seen": genomes}
    subnet = SPACE.subnet(genomes[0])
    alone, both = (Twins(**given, images=images).chosen("onnxruntime", 1.0, subnet) for images in ((), (1500, 4000)))
    low, high = twin.interval(genomes[:1], 0.9)
    assert alone.interval == pytest.approx((low[0], high[0]))
    parts = [(high[0] - low[0]) / 2, sampled(alone.predicted_top1, 1500, 0.9), sampled(alone.predicted_top1, 4000, 0.9)]
    assert both.interval[1] - both.predicted_top1 == pytest.approx(math.hypot(*parts))
    # 90 % of 1,500 images: 0.77 points of standard error, and 1.645 of these at both sides.
    assert sampled(90.0, 1500, 0.9) == pytest.approx(1.645 * 0.7746, rel=1e-3)
    assert sampled(103.0, 1500, 0.9) == 0.0
