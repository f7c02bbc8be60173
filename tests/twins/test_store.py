"""A twin's files are refused whatever was done to them, before they take more memory than their cap."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ofa.errors import FileInvalid
from ofa.files import sha256_bytes
from ofa.space.mobilenet_v3 import mobilenet_v3_tiny
from ofa.twins import boost, store
from ofa.twins.genes import genes_digest

TINY = mobilenet_v3_tiny(1.0, 1, 10)


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
    own = {"schema": "twin/1", "space": TINY.id, "genes_sha256": genes_digest(TINY)}
    card = own | {"files": {"arrays.npz": {"sha256": sha256_bytes(arrays)}}}
    (tmp_path / "card.json").write_text(json.dumps(card))
    (tmp_path / "arrays.npz").write_bytes(arrays)
    with pytest.raises(FileInvalid, match="cannot be used"):
        store.load(tmp_path, schema="twin/1", space=TINY)


@pytest.mark.parametrize(
    "named",
    [
        {"arrays.npz": {}, "trees-2.json": {}},
        {"arrays.npz": {}, "../trees-1.json": {}},
        {"trees-1.json": {}},
        {"arrays.npz": {}} | {f"trees-{number}.json": {} for number in range(1, 40)},
        [],
    ],
)
def test_a_card_that_names_other_files_is_refused(tmp_path: Path, named: object) -> None:
    own = {"schema": "twin/1", "space": TINY.id, "genes_sha256": genes_digest(TINY)}
    (tmp_path / "card.json").write_text(json.dumps(own | {"files": named}))
    with pytest.raises(FileInvalid) as refusal:
        store.load(tmp_path, schema="twin/1", space=TINY)
    assert "does not name its files" in refusal.value.why


def test_saving_again_leaves_no_trees_of_before(tmp_path: Path) -> None:
    store.save(tmp_path, {}, {}, [b"1", b"2"])
    store.save(tmp_path, {}, {}, [b"1"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["arrays.npz", "card.json", "trees-1.json"]


def trees_of(loss: Any = "squared") -> bytes:
    """Return a few trees over three features, as they are saved."""
    matrix = np.random.default_rng(0).random((60, 3))
    growth = boost.Growth(rounds=3, eta=0.3, max_depth=3, min_child_weight=1, loss=loss)
    return boost.to_bytes(boost.fit(matrix, matrix[:, 0] - matrix[:, 1] * matrix[:, 2], growth, seed=0))


@pytest.mark.parametrize("loss", ["squared", "absolute"])
def test_trees_of_both_losses_come_back(loss: Any) -> None:
    data, matrix = trees_of(loss), np.random.default_rng(1).random((20, 3))
    again = boost.from_bytes(data, columns=3, what="trees")
    assert boost.to_bytes(again) == data and np.isfinite(boost.predict(again, matrix)).all()


def _nan(learner: Any) -> None:
    learner["gradient_booster"]["model"]["trees"][1]["split_conditions"][-1] = float("nan")


def _huge(learner: Any) -> None:
    learner["gradient_booster"]["model"]["trees"][1]["split_conditions"][-1] = 1e39


def _ring(learner: Any) -> None:
    learner["gradient_booster"]["model"]["trees"][0]["left_children"][0] = 0


def _far(learner: Any) -> None:
    learner["gradient_booster"]["model"]["trees"][0]["right_children"][0] = 10**6


def _feature(learner: Any) -> None:
    learner["gradient_booster"]["model"]["trees"][0]["split_indices"][0] = 3


def _short(learner: Any) -> None:
    learner["gradient_booster"]["model"]["trees"][0]["left_children"].pop()


def _logistic(learner: Any) -> None:
    learner["objective"]["name"] = "binary:logistic"


def _lines(learner: Any) -> None:
    learner["gradient_booster"] = {"name": "gblinear", "model": {"weights": [0.0] * 4}}


def _nothing(learner: Any) -> None:
    learner.clear()


@pytest.mark.parametrize("spoil", [_nan, _huge, _ring, _far, _feature, _short, _logistic, _lines, _nothing])
def test_trees_that_are_no_plain_sum_of_numbers_are_refused(spoil: Callable[[Any], None]) -> None:
    model = json.loads(trees_of())
    spoil(model["learner"])
    with pytest.raises(FileInvalid, match="trees is not a tree model") as refusal:
        boost.from_bytes(json.dumps(model).encode(), columns=3, what="trees")
    assert refusal.value.why


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b"\xff{", trees_of()[:-40]])
def test_what_is_no_file_of_trees_is_refused(data: bytes) -> None:
    with pytest.raises(FileInvalid, match="trees is not a tree model") as refusal:
        boost.from_bytes(data, columns=3, what="trees")
    assert refusal.value.why
