"""A search on disk: stopped and taken up it ends as it would have; another search or a damaged file is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ofa.errors import FileInvalid
from ofa.search import Found, Generation, find
from ofa.space.core import SearchSpace
from ofa.space.mobilenet_v3 import mobilenet_v3, mobilenet_v3_tiny
from tests.search.test_find import Truth
from tests.search.test_worth import priced

EFFORT: dict[str, Any] = {"seed": 3, "population": 48, "generations": 12, "rounds": 30}


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return mobilenet_v3_tiny(1.0, 1, 10)


def same(one: Found, other: Found) -> bool:
    return (one.best, one.front, one.top, one.evaluated) == (other.best, other.front, other.top, other.evaluated)


@pytest.mark.slow
@pytest.mark.parametrize("stop_at", [4, 11, 13, 99])
def test_a_stopped_search_ends_as_it_would_have(space: SearchSpace, tmp_path: Path, stop_at: int) -> None:
    truth = Truth(space, 1)
    whole = find(space, truth.accuracy, [truth.limit(0.3)], **EFFORT)
    state, calls = tmp_path / "search.npz", []

    def stop(generation: Generation) -> None:
        if generation.number == stop_at:
            raise KeyboardInterrupt

    def watched(genomes: np.ndarray) -> np.ndarray:
        calls.append(len(genomes))
        return truth.accuracy(genomes)

    # Of fifteen reports the last three are of ten rounds of exchange each.
    if stop_at < 15:
        with pytest.raises(KeyboardInterrupt):
            find(space, truth.accuracy, [truth.limit(0.3)], state=state, on_generation=stop, **EFFORT)
        assert state.exists() == (stop_at > 9)
    else:
        find(space, truth.accuracy, [truth.limit(0.3)], state=state, **EFFORT)
    resumed = find(space, watched, [truth.limit(0.3)], state=state, **EFFORT)
    assert same(resumed, whole)
    if stop_at > 9:
        assert sum(calls) < whole.evaluated


@pytest.mark.parametrize(("seed", "is_priced"), [(3, False), (4, False), (1, True)])
def test_a_finished_search_is_not_searched_further(tmp_path: Path, seed: int, is_priced: bool) -> None:
    space = mobilenet_v3(1.2, 3, 1000)
    truth = Truth(space, seed)
    limit = priced(truth, 0.4) if is_priced else truth.limit(0.4)
    effort: dict[str, Any] = {"seed": seed, "population": 32, "generations": 2, "rounds": 3}
    whole = find(space, truth.accuracy, [limit], state=tmp_path / "search.npz", **effort)
    assert same(find(space, truth.accuracy, [limit], state=tmp_path / "search.npz", **effort), whole)
    with np.load(tmp_path / "search.npz") as stored:
        assert (stored["price"] > 0).all() == is_priced


def test_a_stopped_search_goes_on_at_its_price(space: SearchSpace, tmp_path: Path) -> None:
    truth, state = Truth(space, 1), tmp_path / "search.npz"
    limit = priced(truth, 0.3)
    whole = find(space, truth.accuracy, [limit], **EFFORT)

    def stop(generation: Generation) -> None:
        if generation.number == 13:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find(space, truth.accuracy, [limit], state=state, on_generation=stop, **EFFORT)
    with np.load(state) as stored:
        assert (stored["price"] > 0).all()
    assert same(find(space, truth.accuracy, [limit], state=state, **EFFORT), whole)


@pytest.mark.slow
def test_islands_are_taken_up_as_well(space: SearchSpace, tmp_path: Path) -> None:
    truth = Truth(space, 2)
    state, heard = tmp_path / "search.npz", []

    def stop(generation: Generation) -> None:
        heard.append(generation)
        if len(heard) == 20:
            raise KeyboardInterrupt

    whole = find(space, truth.accuracy, [truth.limit(0.3)], islands=2, **EFFORT)
    with pytest.raises(KeyboardInterrupt):
        find(space, truth.accuracy, [truth.limit(0.3)], islands=2, state=state, on_generation=stop, **EFFORT)
    assert (tmp_path / "search-0.npz").exists()
    for _ in range(2):
        assert same(find(space, truth.accuracy, [truth.limit(0.3)], islands=2, state=state, **EFFORT), whole)


def test_another_search_and_a_damaged_file_are_refused(space: SearchSpace, tmp_path: Path) -> None:
    truth, other = Truth(space, 1), Truth(space, 2)
    state = tmp_path / "search.npz"
    find(space, truth.accuracy, [truth.limit(0.3)], state=state, **EFFORT)
    for change in ({"seed": 4}, {"rounds": 31}, {"islands": 2}):
        with pytest.raises(FileInvalid, match="holds another search"):
            find(space, truth.accuracy, [truth.limit(0.3)], state=state, **(EFFORT | change))
    for limits in ([truth.limit(0.4)], [truth.limit(0.3), other.limit(0.5)]):
        with pytest.raises(FileInvalid, match="holds another search"):
            find(space, truth.accuracy, limits, state=state, **EFFORT)
    with pytest.raises(FileInvalid, match="holds another search") as refusal:
        find(space, other.accuracy, [truth.limit(0.3)], state=state, **EFFORT)
    assert "model of accuracy" in refusal.value.why
    content = state.read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"PK\x03\x04" + content[4:200]):
        state.write_bytes(damaged)
        with pytest.raises(FileInvalid, match="is not a search that can be taken up"):
            find(space, truth.accuracy, [truth.limit(0.3)], state=state, **EFFORT)


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("accuracy", lambda array: array.astype(str)),
        ("accuracy", lambda array: array[:-1]),
        ("values", lambda array: array * np.nan),
        ("alive", lambda array: array[:0]),
        ("alive", lambda array: array + 10**6),
        ("about", lambda array: np.frombuffer(b'{"asked": [1]}', dtype=np.uint8)),
        ("gains", lambda array: array.astype(np.float64)),
        ("gains", lambda array: np.zeros((1, *array.shape[1:]), dtype=np.float32)),
        ("gains", lambda array: array[:, :, :-1]),
        ("price", lambda array: array * np.nan),
        ("price", lambda array: np.zeros(2)),
        ("price", lambda array: array - 1.0),
        ("genomes", lambda array: array.astype(np.int64)),
        ("genomes", None),
    ],
)
def test_a_state_whose_arrays_do_not_fit_is_refused(space: SearchSpace, tmp_path: Path, name: str, made: Any) -> None:
    truth, state = Truth(space, 1), tmp_path / "search.npz"
    effort: dict[str, Any] = {"seed": 3, "population": 16, "generations": 1, "rounds": 0}
    find(space, truth.accuracy, [truth.limit(0.3)], state=state, **effort)
    with np.load(state) as stored:
        arrays = {part: stored[part] for part in stored.files}
    if made is None:
        del arrays[name]
    else:
        arrays[name] = made(arrays[name])
    with state.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)
    with pytest.raises(FileInvalid, match="is not a search that can be taken up") as refusal:
        find(space, truth.accuracy, [truth.limit(0.3)], state=state, **effort)
    assert refusal.value.why


def test_a_state_that_unpacks_to_too_much_is_refused(
    space: SearchSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth, state = Truth(space, 1), tmp_path / "search.npz"
    effort: dict[str, Any] = {"seed": 3, "population": 16, "generations": 1, "rounds": 0}
    find(space, truth.accuracy, [truth.limit(0.3)], state=state, **effort)
    with np.load(state) as stored:
        arrays = {part: stored[part] for part in stored.files}
    with state.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays, much=np.zeros(200_000))
    monkeypatch.setattr("ofa.search.state.MAX_BYTES", 1_000_000)
    with pytest.raises(FileInvalid, match="is not a search that can be taken up") as refusal:
        find(space, truth.accuracy, [truth.limit(0.3)], state=state, **effort)
    assert "unpacks to more than" in refusal.value.why
