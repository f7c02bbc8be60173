"""Reads the few fields we need of a protocol buffer by its wire format, passing over all others."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

# Wire types; a group (3, 4) is in no message of today.
VARINT, FIXED_64, LENGTH, FIXED_32 = 0, 1, 2, 5
MOST_VARINT_BYTES = 10
MOST_FIELD = 2**29 - 1


def fields(data: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """Yield (field number, wire type, value) of a message; raises ValueError where it is cut short or no message."""
    place = 0
    while place < len(data):
        tag, place = varint(data, place)
        number, kind = tag >> 3, tag & 7
        if not 1 <= number <= MOST_FIELD:
            raise ValueError(f"field {number} is none")
        if kind == VARINT:
            value, place = varint(data, place)
            yield number, kind, value
            continue
        if kind == LENGTH:
            size, place = varint(data, place)
        elif kind in (FIXED_32, FIXED_64):
            size = 4 if kind == FIXED_32 else 8
        else:
            raise ValueError(f"wire type {kind} is not known")
        if size > len(data) - place:
            raise ValueError("it is cut short")
        yield number, kind, data[place : place + size]
        place += size


def varint(data: bytes, place: int) -> tuple[int, int]:
    """Return the whole number at a place, and the place behind it; raises ValueError."""
    value = 0
    for count in range(MOST_VARINT_BYTES):
        if place + count >= len(data):
            raise ValueError("it is cut short")
        byte = data[place + count]
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return value, place + count + 1
    raise ValueError("a whole number has no end")


def submessages(data: bytes, names: Mapping[int, str]) -> dict[str, bytes]:
    """Return the named messages inside a message; the last one of a name counts. Raises ValueError."""
    return {
        names[number]: value
        for number, kind, value in fields(data)
        if number in names and kind == LENGTH and isinstance(value, bytes)
    }


def numbers(data: bytes, names: Mapping[int, str]) -> dict[str, float]:
    """Return the named numbers of a message: float, double, or a whole number that is not negative. Raises
    ValueError."""
    found: dict[str, float] = {}
    for number, kind, value in fields(data):
        if number not in names:
            continue
        if isinstance(value, int):
            found[names[number]] = value
        elif kind in (FIXED_32, FIXED_64):
            found[names[number]] = struct.unpack("<f" if kind == FIXED_32 else "<d", value)[0]
    return found
