"""Small pictures, encoded, and data sets of them in every layout."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("PIL", reason="the package 'pillow' is not installed")

from PIL import Image

Picture = NDArray[np.uint8]
Encode = Callable[..., bytes]
WriteTar = Callable[..., Path]
Crops = NDArray[np.float32]


@pytest.fixture
def pictures() -> Picture:
    """Return 12 unlike RGB pictures uint8[12, 32, 32, 3]."""
    return np.random.default_rng(5).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)


@pytest.fixture
def whole() -> Crops:
    """Return 12 crops that take the whole picture."""
    return np.tile(np.array([0, 0, 1, 1], dtype=np.float32), (12, 1))


@pytest.fixture
def encode() -> Encode:
    """Return a function that encodes an array or an image; lossless but for JPEG."""

    def encoded(picture: Picture | Image.Image, kind: str = "PNG", **options: object) -> bytes:
        buffer = io.BytesIO()
        image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        lossless = {"lossless": True} if kind == "WEBP" else {}
        image.save(buffer, kind, **(lossless | options))
        return buffer.getvalue()

    return encoded


@pytest.fixture
def write_tar() -> WriteTar:
    """Return a function that writes a tar of (name, bytes) and returns its path."""

    def written(path: Path, members: Iterable[tuple[str, bytes]], kind: int = tarfile.USTAR_FORMAT) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(path, "w", format=kind) as archive:
            for name, raw in members:
                member = tarfile.TarInfo(name)
                member.size = len(raw)
                archive.addfile(member, io.BytesIO(raw))
        return path

    return written
