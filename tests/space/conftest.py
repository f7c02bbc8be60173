"""Every declared space, and the four widths that are published, as parameters."""

from __future__ import annotations

import pytest

import ofa.space as spaces
from ofa.space.core import SearchSpace

SPACES = {
    "mobilenet_v3": spaces.load("mobilenet_v3"),
    "mobilenet_v3 w1.2": spaces.load("mobilenet_v3", width=1.2),
    "mobilenet_v3_lite": spaces.load("mobilenet_v3_lite"),
    "proxyless": spaces.load("proxyless"),
    "resnet50": spaces.load("resnet50"),
    "tiny": spaces.load("mobilenet_v3_tiny", channels=1, classes=10),
    "tiny lite": spaces.load("mobilenet_v3_tiny_lite", channels=1, classes=10),
    "tiny in colour": spaces.load("mobilenet_v3_tiny", classes=100),
}


# For a whole session, so that hypothesis may draw many examples with one of them.
@pytest.fixture(scope="session", params=list(SPACES))
def space(request: pytest.FixtureRequest) -> SearchSpace:
    return SPACES[request.param]
