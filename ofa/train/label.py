"""Measured accuracies of many subnets, what an accuracy twin learns from: one durable row each, by one process or many.

Beside ``labels.csv`` stands ``labels.csv.bits``: for each row, which images the subnet named rightly, one bit an image
(numpy's packbits), so that the difference of two subnets can be told from chance.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ofa import score
from ofa.files import MEBIBYTE, read_json, readable_json, write_atomic
from ofa.lock import alone
from ofa.nn.supernet import Supernet
from ofa.space.core import Genomes, SearchSpace, Subnet
from ofa.train import errors, labelled, lines
from ofa.train.data import Images
from ofa.train.evaluate import many_right, percent
from ofa.train.labelled import Row
from ofa.train.ranks import Ranks

PRECISION = "fp32"
# Subnets that are run on a batch of images before the next batch is loaded.
TOGETHER = 8
# Rows have four digits of a percent.
_ROUNDED = 1e-4


def label(
    supernet: Supernet,
    genomes: Genomes,
    path: Path,
    *,
    calibration: Images,
    images: Images,
    ranks: Ranks | None = None,
    origin: Mapping[str, Any] | None = None,
    on_label: Callable[[Subnet, float], None] | None = None,
    on_known: Callable[[int], None] | None = None,
) -> NDArray[np.float64]:
    """Measure the top-1 (percent) on ``images`` of each genome uint8[n, G], float64[n]; one row of ``path`` at a time.

    Each subnet gets batch-norm statistics of its own from ``calibration``, which should be training images. Rows that
    the file holds already are not measured again, so an interrupted run goes on where it stopped. Subnets of one
    resolution are measured together, so that images are prepared once for all of them, and are shared by processes;
    the first one writes. ``origin`` is JSON that names the checkpoint and the images; it is kept beside the file, and
    rows of another origin are refused. ``on_label`` is told of every subnet, found or measured; with ``on_known``, that
    one is told how many were found, and ``on_label`` of the measured ones. Raises FileInvalid where the file is one of
    another space, of other images or of another origin.
    """
    space, ranks = supernet.space, ranks or Ranks()
    space.check(genomes)
    subnets = [space.subnet(genome) for genome in genomes]
    with alone(path.parent, path.name) if ranks.first else nullcontext():
        if origin is not None and ranks.first:
            _same_origin(path, origin)
        known = ranks.from_first(_begun(path, space, len(images)) if ranks.first else {})
        held = [subnet for subnet in subnets if subnet.id in known]
        if on_known is not None:
            on_known(len(held))
        elif on_label is not None:
            for subnet in held:
                on_label(subnet, known[subnet.id])
        missing = {subnet.id: subnet for subnet in _by_resolution(subnets) if subnet.id not in known}
        for group in _groups(list(missing.values()), TOGETHER * ranks.size):
            mine = group[ranks.rank :: ranks.size]
            found = many_right(supernet, mine, calibration, images)
            for identity, right in _dealt(ranks.gathered(list(zip((one.id for one in mine), found, strict=True)))):
                known[identity] = round(percent(right), 4)
                if ranks.first:
                    _append(path, missing[identity], right)
                if on_label is not None:
                    on_label(missing[identity], known[identity])
    return np.array([known[subnet.id] for subnet in subnets])


def read_right(path: Path, space: SearchSpace) -> NDArray[np.bool_]:
    """Return which images each row's subnet named rightly, bool[rows, images].

    Raises FileInvalid where bits are missing, or do not tell a row's top-1.
    """
    rows = labelled.rows(path, space)
    images = rows[0].images if rows else 0
    return np.unpackbits(_bits_of(path, rows, images), axis=1, count=images).astype(np.bool_)


def _bits_of(path: Path, rows: Sequence[Row], images: int) -> NDArray[np.uint8]:
    """Return the bits of the rows of a file, uint8[rows, bytes], those of a torn last row left out.

    Raises FileInvalid where there are fewer, or a row's are not its own: a line that was taken out or moved by hand
    would give those behind it the images of another subnet.
    """
    width = -(-images // 8)
    content = bits_path(path).read_bytes() if bits_path(path).exists() else b""
    if len(content) < width * len(rows):
        raise errors.not_labels(bits_path(path), f"it holds {len(content):,} bytes for {len(rows):,} rows")
    packed = np.frombuffer(content[: width * len(rows)], dtype=np.uint8).reshape(len(rows), width)
    for line, (row, bits) in enumerate(zip(rows, packed, strict=True), 2):
        found = 100 * int(np.unpackbits(bits, count=images).sum()) / images
        if abs(found - row.top1) > _ROUNDED:
            why = f"line {line} of '{path}' has a top-1 of {row.top1} %, and its images one of {round(found, 4)} %"
            raise errors.not_labels(bits_path(path), why)
    return packed


def bits_path(path: Path) -> Path:
    """Return the file beside ``path`` that holds one bit an image."""
    return path.with_name(f"{path.name}.bits")


def _same_origin(path: Path, origin: Mapping[str, Any]) -> None:
    """Note what labels are made from, before the first one; raise FileInvalid where the file's are from elsewhere."""
    sidecar = path.with_name(path.name + ".json")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(sidecar, readable_json(dict(origin)))
        return
    found = read_json(sidecar, max_bytes=MEBIBYTE, what="origin of labels")
    if found != dict(origin):
        known = found if isinstance(found, dict) else {}
        differing = sorted(key for key in origin if known.get(key) != origin[key])
        raise errors.other_origin(path, differing or ["origin"])


def _dealt(parts: list[list[tuple[str, NDArray[np.bool_]]]]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Yield what the processes found in the order in which the subnets were dealt out."""
    for turn in range(max(len(part) for part in parts)):
        for part in parts:
            if turn < len(part):
                yield part[turn]


def _by_resolution(subnets: list[Subnet]) -> list[Subnet]:
    """Return subnets by resolution, in order of first appearance: rows come in this order, resumed or not."""
    order = {subnet.resolution: place for place, subnet in reversed(list(enumerate(subnets)))}
    return sorted(subnets, key=lambda subnet: order[subnet.resolution])


def _groups(subnets: list[Subnet], size: int) -> Iterator[list[Subnet]]:
    """Yield up to ``size`` subnets of one resolution at a time, in order."""
    for _, same in groupby(subnets, key=lambda subnet: subnet.resolution):
        members = list(same)
        for start in range(0, len(members), size):
            yield members[start : start + size]


def _append(path: Path, subnet: Subnet, right: NDArray[np.bool_]) -> None:
    """Write one row, its bits first: a row is never without them."""
    with bits_path(path).open("ab") as stream:
        stream.write(np.packbits(right).tobytes())
        stream.flush()
        os.fsync(stream.fileno())
    lines.append(path, _row(subnet, right))


def _begun(path: Path, space: SearchSpace, images: int) -> dict[str, float]:
    """Return what a file of labels holds, by subnet id, and leave it and its bits ready for more rows."""
    known = labelled.rows(path, space) if path.exists() else []
    for row in known:
        if row.images != images:
            raise errors.not_labels(path, f"it was measured on {row.images:,} images, not {images:,}")
    bits = _bits_of(path, known, images)
    text = [",".join(labelled.COLUMNS), *lines.whole(path)[1:]]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(bits_path(path), bits.tobytes())
    lines.rewrite(path, text)
    return {row.subnet.id: row.top1 for row in known}


def _row(subnet: Subnet, right: NDArray[np.bool_]) -> str:
    """Return the text of one row; the standard error is that of a share of so many images, points."""
    genome, stderr = bytes(subnet.genome).hex(), score.standard_error_points(float(right.mean()), len(right))
    return f"{subnet.id},{genome},{subnet.resolution},{round(percent(right), 4)},{stderr:.4f},{len(right)},{PRECISION}"
