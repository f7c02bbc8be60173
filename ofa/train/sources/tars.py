"""What a tar of labelled images holds and where, read from its headers: the layout of WebDataset."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ofa.errors import OfaError
from ofa.files import MEBIBYTE
from ofa.train.sources import errors
from ofa.train.sources.decode import EXTENSIONS
from ofa.train.sources.names import Names, packed

MOST_CLASSES = 1 << 16
MOST_JSON_BYTES = MEBIBYTE

_BLOCK_BYTES = 512
_MOST_CLS_BYTES = 64
# As WebDataset has it: a key ends at the first point of the file's own name.
_MEMBER = re.compile(r"((?:.*/)?[^./]+)\.([^/]+)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """The images of one tar in its order: where their bytes begin and how many they are, int64[n]; labels int64[n]."""

    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    labels: NDArray[np.int64]
    names: Names


def scan(path: Path) -> Part:
    """Index a plain tar of samples ``<key>.<jpg|jpeg|png|bmp|webp>`` beside ``<key>.cls`` or ``<key>.json``.

    A .cls file is the label as text; a .json file has it as ``label``. The files of a sample stand together. Samples
    with neither image nor .cls file, links and folders are left out. Raises FileInvalid naming tar and member where the
    tar is damaged, cut short or compressed, or a sample lacks its label or image, or its label is out of range.
    """
    found: list[tuple[int, int, int, bytes]] = []
    reached = ""
    try:
        with tarfile.open(path, mode="r:") as archive:
            for key, group in groupby(_members(archive), key=lambda member: _split(member.name)[0]):
                members = list(group)
                reached = members[-1].name
                sample = _sample(archive, path, key, members) if key else None
                if sample is not None:
                    image, label = sample
                    name = image.name.encode(errors="surrogateescape")
                    found.append((image.offset_data, image.size, label, name))
            # Where the module stopped: at the mark of the end, or at a header that it could not make out.
            end = archive.offset
        _check_end(path, end, reached)
    except OfaError:
        raise
    # A damaged tar fails in any way: TarError, OSError, ValueError, OverflowError.
    except Exception as fault:
        raise errors.shard_broken(path, reached, str(fault) or type(fault).__name__) from fault
    columns = np.array([row[:3] for row in found], dtype=np.int64).reshape(-1, 3)
    return Part(
        offsets=columns[:, 0].copy(),
        sizes=columns[:, 1].copy(),
        labels=columns[:, 2].copy(),
        names=packed([row[3] for row in found]),
    )


def _members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Give the regular files of a tar, and raise ValueError where a header leads backwards, which would never end."""
    reached = -1
    for member in archive:
        if member.offset <= reached or member.size < 0:
            raise ValueError("a header gives an impossible size")
        reached = member.offset
        if member.issparse():
            raise ValueError(f"'{member.name}' is stored as a sparse file")
        if member.isfile():
            yield member


def _split(name: str) -> tuple[str, str]:
    """Return key and extension, both empty where a name has none or is hidden: a/b.c.JPG gives a/b and c.jpg."""
    match = _MEMBER.fullmatch(name)
    return (match[1], match[2].lower()) if match else ("", "")


def _sample(
    archive: tarfile.TarFile, path: Path, key: str, members: list[tarfile.TarInfo]
) -> tuple[tarfile.TarInfo, int] | None:
    """Return image and label of a sample, or None where it is no labelled image at all."""
    images = [member for member in members if _split(member.name)[1] in EXTENSIONS]
    labels = [member for member in members if _split(member.name)[1] == "cls"]
    facts = [member for member in members if _split(member.name)[1] == "json"]
    if not images and not labels:
        return None
    if len(images) != 1:
        raise errors.shard_broken(
            path, (images or labels)[-1].name, f"sample '{key}' has {len(images)} images, not one"
        )
    if len(labels) > 1:
        raise errors.shard_broken(path, labels[-1].name, f"sample '{key}' has {len(labels)} labels, not one")
    label = _text_label(archive, path, labels[0]) if labels else None
    if label is None and facts:
        label = _json_label(archive, path, facts[0])
    if label is None:
        wanted = f"'{key}.cls' must stand next to it, or '{key}.json' with 'label'"
        raise errors.shard_broken(path, images[0].name, f"it has no label: {wanted}")
    if not 0 <= label < MOST_CLASSES:
        member = labels[0] if labels else facts[0]
        raise errors.shard_broken(path, member.name, f"label {label} is out of range 0 to {MOST_CLASSES - 1:,}")
    return images[0], label


def _text_label(archive: tarfile.TarFile, path: Path, member: tarfile.TarInfo) -> int:
    """Return the integer that a .cls file holds as text."""
    raw = _content(archive, path, member, _MOST_CLS_BYTES)
    if not re.fullmatch(rb"\s*[+-]?[0-9]{1,18}\s*", raw):
        raise errors.shard_broken(path, member.name, "it does not hold one integer as text")
    return int(raw)


def _json_label(archive: tarfile.TarFile, path: Path, member: tarfile.TarInfo) -> int | None:
    """Return the integer ``label`` of a .json file, or None where it has none."""
    try:
        facts = json.loads(_content(archive, path, member, MOST_JSON_BYTES))
    except (ValueError, RecursionError) as fault:
        raise errors.shard_broken(path, member.name, "it is not valid JSON") from fault
    label = facts.get("label") if isinstance(facts, dict) else None
    if label is not None and type(label) is not int:
        raise errors.shard_broken(path, member.name, "its 'label' is no integer")
    return label


def _content(archive: tarfile.TarFile, path: Path, member: tarfile.TarInfo, most_bytes: int) -> bytes:
    """Return the bytes of a small member."""
    if member.size > most_bytes:
        raise errors.shard_broken(path, member.name, f"it has {member.size:,} bytes; at most {most_bytes:,} are read")
    stream = archive.extractfile(member)
    assert stream is not None  # it is a regular file
    return stream.read()


def _check_end(path: Path, end: int, reached: str) -> None:
    """Raise FileInvalid unless zeros alone follow the last member: Python's module takes a torn header for the end."""
    with path.open("rb") as stream:
        stream.seek(end)
        rest = stream.read(MEBIBYTE)
    if len(rest) < _BLOCK_BYTES:
        raise errors.shard_broken(path, reached, "it ends without the mark of its end: it was cut short")
    if rest.strip(b"\0"):
        raise errors.shard_broken(
            path, reached, "what follows is no tar header: it is damaged, or two tars were joined"
        )
