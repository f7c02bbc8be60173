"""A twin's files are refused whatever was done to them, before they take more memory than their cap."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ofa.errors import FileInvalid
from ofa.files import sha256_bytes
from ofa.twins import store


def archive_of(parts: dict[str, bytes]) -> bytes:
    """Return a deflated archive of parts."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def npy(shape: tuple[int, ...], data: bytes = b"") -> bytes:
    """Return an array as a file of numpy, whose header may claim what is not there."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return buffer.getvalue() + data


SPOILT = bytearray(archive_of({"a.npy": npy((4000,), np.random.default_rng(0).bytes(32_000))}))
SPOILT[200:300] = b"\xff" * 100
CRAFTED = {
    "a header that claims too much": archive_of({"a.npy": npy((10**13,))}),
    "an archive that unpacks to too much": archive_of({"a.npy": npy((9 << 20,), bytes(72 << 20))}),
    "a damaged stream": bytes(SPOILT),
    "a part that is no array": archive_of({"a": b"text"}),
    "one array and no archive": npy((10**13,)),
    "no archive": b"text",
}


@pytest.mark.parametrize("arrays", CRAFTED.values(), ids=CRAFTED)
def test_arrays_that_were_made_to_hurt_are_refused(tmp_path: Path, arrays: bytes) -> None:
    card = {"schema": "twin/1", "files": {"arrays.npz": {"sha256": sha256_bytes(arrays)}}}
    (tmp_path / "card.json").write_text(json.dumps(card))
    (tmp_path / "arrays.npz").write_bytes(arrays)
    with pytest.raises(FileInvalid, match="cannot be used"):
        store.load(tmp_path, schema="twin/1", space=None)


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 10**400, True, None, "1"])
def test_what_no_float_holds_is_no_number(tmp_path: Path, value: object) -> None:
    stored = store.Stored({"interval": {"low": 1, "high": value}}, {}, None)
    assert store.numbers(stored, tmp_path, "interval", ("low",)) == {"low": 1.0}
    with pytest.raises(FileInvalid, match="cannot be used"):
        store.numbers(stored, tmp_path, "interval", ("low", "high"))
