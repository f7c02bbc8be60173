"""Plans and profiles are read strictly: what is damaged, foreign or mistyped is named, and stays as it was."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import inventory, places
from harness import plan as plans
from harness.plan import Plan
from ofa.errors import FileInvalid
from ofa.files import MEBIBYTE


def test_a_plan_survives_the_file_byte_for_byte(plan: Callable[..., Plan], tmp_path: Path) -> None:
    plans.write(plan(), tmp_path / "plan.json")
    again = plans.read(tmp_path / "plan.json")
    assert again == plan() and again.hash == plan().hash
    plans.write(again, tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "plan.json").read_bytes()


def test_the_hash_knows_every_part(plan: Callable[..., Plan]) -> None:
    changes: list[dict[str, Any]] = [
        {"seed": 6}, {"rounds": 4}, {"runtime": "litert"}, {"threads": 2}, {"precision": "int8"},
        {"kernels": "builtin"}, {"unit": "gpu"},
        {"items": plan().items[:-1]}, {"protocol": plan().protocol.model_copy(update={"warm_calls": 3})},
    ]  # fmt: skip
    assert len({plan().hash} | {plan(**change).hash for change in changes}) == 1 + len(changes)


DAMAGES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "edited": (lambda content: content.update(seed=6), "hash"),
    "no hash": (lambda content: content.pop("hash"), "hash"),
    "schema": (lambda content: content.update(schema="plan/2"), "plan/2"),
    "unknown key": (lambda content: content.update(round=3), "round"),
    "unknown protocol key": (lambda content: content["protocol"].update(cold_cycle=3), "cold_cycle"),
    "negative": (lambda content: content["protocol"].update(cold_cycles=-1), "cold_cycles"),
    "not a number": (lambda content: content.update(rounds="5"), "rounds"),
    "fraction": (lambda content: content.update(rounds=1.5), "rounds"),
    "too many rounds": (lambda content: content.update(rounds=10**9), "rounds"),
    "runtime": (lambda content: content.update(runtime="caffe"), "runtime"),
    "path for a file": (lambda content: content["items"][0].update(file="../../etc/passwd"), "file"),
    "key with a comma": (lambda content: content["items"][0].update(key="a,b"), "key"),
    "twice": (lambda content: content["items"].append(content["items"][0]), "twice"),
    "no items": (lambda content: content.update(items=[]), "items"),
    "genome": (lambda content: content["items"][0].update(genome="xyz"), "genome"),
}


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_a_damaged_plan_is_refused(damage: str, plan: Callable[..., Plan], tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    plans.write(plan(), path)
    content = json.loads(path.read_text())
    change, mentioned = DAMAGES[damage]
    change(content)
    path.write_text(json.dumps(content))
    before = path.read_bytes()
    with pytest.raises(FileInvalid) as caught:
        plans.read(path)
    assert mentioned in caught.value.why and caught.value.hints and str(path) in caught.value.what
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"schema":NaN}', b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_plan_at_all_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(content)
    with pytest.raises(FileInvalid):
        plans.read(path)
    assert path.read_bytes() == content


def test_a_truncated_an_oversized_and_an_absent_plan(plan: Callable[..., Plan], tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    plans.write(plan(), path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(FileInvalid, match="JSON"):
        plans.read(path)
    with path.open("wb") as stream:
        stream.truncate(plans.MAX_BYTES + 1)
    with pytest.raises(FileInvalid, match="too large"):
        plans.read(path)
    with pytest.raises(FileInvalid, match="cannot be read"):
        plans.read(tmp_path / "absent.json")


def test_every_profile_at_hand_is_sound() -> None:
    assert "this-computer" in places.profile_names()
    for name in places.profile_names():
        profile = inventory.load_profile(name)
        assert profile.name == name and all(fact.source for fact in profile.facts.values())


PROFILE = 'schema = "device/1"\nname = "board"\ntitle = "A board"\ntransport = "local"\nmeasured_by_us = false\n'


@pytest.mark.parametrize(
    ("content", "mentioned"),
    [
        (PROFILE + "[calm]\nmax_foreign_core = 1\n", "did you mean 'max_foreign_cores'?"),
        (PROFILE + "[calm]\nmax_foreign_cores = nan\n", "max_foreign_cores"),
        (PROFILE + "[calm]\nmax_temp_c = -5\n", "max_temp_c"),
        (PROFILE + "[runtimes.caffe]\n", "caffe"),
        (PROFILE + '[facts.ram]\nvalue = 8\nsource = ""\n', "source"),
        (PROFILE.replace("device/1", "device/2"), "schema"),
        (PROFILE.replace("board", "Board!"), "name"),
        (PROFILE.replace('"board"', '"other"'), "other"),
        (PROFILE[:-20], "TOML"),
        ("", "schema"),
        ("\x00\xff", "TOML"),
    ],
)
def test_a_damaged_profile_is_refused(content: str, mentioned: str, tmp_path: Path) -> None:
    path = tmp_path / "board.toml"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(FileInvalid) as caught:
        inventory.read_profile(path)
    assert mentioned in str(caught.value)
    assert path.read_bytes() == content.encode("latin-1")


def test_an_oversized_and_an_unknown_profile(tmp_path: Path) -> None:
    path = tmp_path / "board.toml"
    path.write_text(PROFILE + "#" * MEBIBYTE)
    with pytest.raises(FileInvalid, match="too large"):
        inventory.read_profile(path)
    path.write_text(PROFILE)
    assert inventory.read_profile(path).title == "A board"
    with pytest.raises(FileInvalid) as caught:
        inventory.load_profile("pixel-99")
    assert "this-computer" in caught.value.hints[0]
