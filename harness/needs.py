"""What each thing one may want to do needs on this computer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Purpose(StrEnum):
    """What one may want to do."""

    bench = "bench"
    search = "search"
    train = "train"
    report = "report"
    ssh = "ssh"
    adb = "adb"
    demo = "demo"
    track = "track"


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A package by the name it is imported by: the extra of ofa-lab that brings it, and what it is for."""

    extra: str
    why: str


PACKAGES: Mapping[str, Package] = {
    "onnx": Package(extra="bench", why="building ONNX files"),
    "flatbuffers": Package(extra="bench", why="building TFLite files"),
    "onnxruntime": Package(extra="bench", why="running ONNX files here"),
    "ai_edge_litert": Package(extra="bench", why="building TFLite files, and running them here"),
    "xgboost": Package(extra="search", why="twins"),
    "torch": Package(extra="train", why="training, and TorchScript files"),
    "sklearn": Package(extra="train", why="the demo's images"),
    "PIL": Package(extra="train", why="images in files"),
    "jinja2": Package(extra="report", why="report pages"),
    "plotly": Package(extra="report", why="report pages"),
    "paramiko": Package(extra="ssh", why="devices over SSH"),
    "tensorboard": Package(extra="track", why="--track tensorboard"),
}
# The extras that a purpose is made of, where it is not an extra itself; none for what a program does.
PARTS: Mapping[str, tuple[str, ...]] = {"demo": ("train", "search", "bench", "report"), "adb": ()}
# A purpose's programs, and the system package that brings each.
PROGRAMS: Mapping[str, Mapping[str, str]] = {"adb": {"adb": "adb"}}


def packages(purpose: Purpose) -> dict[str, Package]:
    """Return the packages that something needs, by the name each is imported by."""
    extras = PARTS.get(purpose, (purpose.value,))
    return {name: package for name, package in PACKAGES.items() if package.extra in extras}
