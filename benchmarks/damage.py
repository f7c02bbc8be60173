"""Damages inputs as a disk, a link or a hand does, by a seed: bytes, lines, numbers, and the structure of JSON."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence
from typing import Any

TOKENS = (
    *(b"-", b"0", b"-1", b"1e999", b"-1e999", b"1e-999", b"NaN", b"Infinity", b"-Infinity", b"null", b"true", b"1.5"),
    *(b"9" * 19, b"9" * 400, b"9" * 5000, b"0x1f", b"1_000", b"18446744073709551616", b"01", b"+5", b" 5"),
    *(b"[", b"]", b"{", b"}", b'"', b",", b":", b";", b"\\", b"\n", b"\r\n", b"\r", b"\0", b"\t", b"\x1b[31m"),
    *(b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\\ud800", b"\\u0000", b"\\udfff\\ud800"),
    *("é".encode(), "\u202e".encode(), "\U0001f984".encode(), b"../../etc/passwd", b"$(touch sprung)", b"%s%n"),
    *(b"cos\nsystem\n(S'true'\ntR.", b"\x80\x04\x95", b"__class__", b"!!python/object/apply:os.system"),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1.5, -0.0, 1e300, 2**31, 2**63, 2**64, 10**400, "", "x" * 2000, "\ud800", "\0", "\n"),
    *("é" * 40, "NaN", "../..", "empty", "0" * 64, "a" * 32, "a" * 32 + "\n", "hot", [], {}, [[]], {"": {}}, [0] * 300),
)
DEPTHS = (10, 60, 400, 900, 3000, 30_000)
NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")


def damaged(rng: random.Random, raw: bytes, others: Sequence[bytes]) -> bytes:
    """Return an input with one to four kinds of damage; ``others`` are inputs that parts may come from."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        raw = rng.choice(KINDS)(rng, raw, others)
    return raw


def _flip(rng: random.Random, raw: bytes, _: Sequence[bytes]) -> bytes:
    """Flip some bits."""
    content = bytearray(raw)
    for _number in range(rng.randint(1, 8) if content else 0):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(content)


def _cut(rng: random.Random, raw: bytes, _: Sequence[bytes]) -> bytes:
    """Cut off the end, as where power fails."""
    return raw[: rng.randrange(len(raw) + 1)]


def _piece(rng: random.Random, raw: bytes, _: Sequence[bytes]) -> bytes:
    """Put a word that means something elsewhere in the place of a few bytes."""
    place = rng.randrange(len(raw) + 1)
    return raw[:place] + rng.choice(TOKENS) + raw[place + rng.randint(0, 4) :]


def _twice(rng: random.Random, raw: bytes, _: Sequence[bytes]) -> bytes:
    """Repeat a part, or leave it out."""
    start = rng.randrange(len(raw) + 1)
    end = min(len(raw), start + rng.choice((1, 3, 20, 200)))
    return raw[:start] + raw[start:end] * rng.choice((0, 2, 3, 50)) + raw[end:]


def _splice(rng: random.Random, raw: bytes, others: Sequence[bytes]) -> bytes:
    """Go on with the end of another input."""
    other = rng.choice(others)
    return raw[: rng.randrange(len(raw) + 1)] + other[rng.randrange(len(other) + 1) :]


def _number(rng: random.Random, raw: bytes, _: Sequence[bytes]) -> bytes:
    """Put something else where a number stands."""
    found = list(NUMBER.finditer(raw))
    if not found:
        return raw
    hit = rng.choice(found)
    return raw[: hit.start()] + rng.choice(TOKENS) + raw[hit.end() :]


def _lines(rng: random.Random, raw: bytes, _: Sequence[bytes]) -> bytes:
    """Swap, repeat or drop lines."""
    lines = raw.split(b"\n")
    here, there = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[here], lines[there] = lines[there], lines[here]
    lines[here : here + 1] = [lines[here]] * rng.choice((0, 1, 2))
    return b"\n".join(lines)


def _field(rng: random.Random, raw: bytes, _: Sequence[bytes]) -> bytes:
    """Put something else in a field between commas."""
    fields = raw.split(b",")
    fields[rng.randrange(len(fields))] = rng.choice(TOKENS)
    return b",".join(fields)


def _structure(rng: random.Random, raw: bytes, _: Sequence[bytes]) -> bytes:
    """Change a value, a key or the nesting of a JSON document; what is none is left as it is."""
    try:
        root = [json.loads(raw)]
    except (ValueError, RecursionError):
        return raw
    places: list[tuple[Any, Any]] = []
    waiting: list[Any] = [root]
    while waiting:
        holder = waiting.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        places += [(holder, key) for key in keys]
        waiting += [holder[key] for key in keys if isinstance(holder[key], dict | list)]
    holder, key = rng.choice(places)
    mark = None
    deed = rng.randrange(6)
    if deed == 0:
        holder[key] = rng.choice(VALUES)
    elif deed == 1:
        holder[key] = mark = f"deep{rng.randrange(10**9)}"
    elif deed == 2 and isinstance(holder, dict):
        holder[rng.choice((*holder, "", "extra", "__class__", key.upper()))] = holder.pop(key)
    elif deed == 3 and holder is not root:
        del holder[key]
    elif deed == 4:
        holder[key] = [holder[key]] * rng.choice((1, 2, 600))
    elif isinstance(holder, dict):
        holder[rng.choice(("extra", "id", "ev", "do", "lease"))] = rng.choice(VALUES)
    text = json.dumps(root[0] if root else None, separators=(",", ":")).encode()
    if mark is not None:
        depth = rng.choice(DEPTHS)
        begin, end = rng.choice(((b"[", b"]"), (b'{"a":', b"}")))
        text = text.replace(f'"{mark}"'.encode(), begin * depth + b"1" + end * depth)
    return text


def _key_twice(rng: random.Random, raw: bytes, _: Sequence[bytes]) -> bytes:
    """Say a key of a JSON object a second time, with another value."""
    found = list(re.finditer(rb'"(\w+)":', raw))
    if not found:
        return raw
    hit = rng.choice(found)
    return raw[: hit.start()] + hit.group() + rng.choice((b"1", b'"x"', b"null", b"{}")) + b"," + raw[hit.start() :]


Kind = Callable[[random.Random, bytes, Sequence[bytes]], bytes]
KINDS: tuple[Kind, ...] = (
    *(_flip, _cut, _piece, _piece, _twice, _splice, _number, _number, _lines, _field),
    *(_structure, _structure, _structure, _structure, _key_twice),
)
