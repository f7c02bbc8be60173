"""Spoilt headers and sessions: `lut.json` and `sessions.jsonl` are read strictly, and vouch for the other files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ofa.files import canonical_json, sha256_bytes
from ofa.lut import format
from ofa.lut.errors import RESTORE
from ofa.lut.format import Header, Lut

Change = Callable[[str], str | bytes]


def setting(**facts: Any) -> Change:
    """Return a change of keys of the header."""
    return lambda text: json.dumps(json.loads(text) | facts)


def within(key: str, **facts: Any) -> Change:
    """Return a change inside an object of the header."""
    return lambda text: json.dumps((old := json.loads(text)) | {key: old[key] | facts})


def without(key: str) -> Change:
    """Return a change that takes a key out of the header."""
    return lambda text: json.dumps({name: value for name, value in json.loads(text).items() if name != key})


def instead(old: str, new: str) -> Change:
    """Return a change of one text for another, once."""
    return lambda text: text.replace(old, new, 1)


# change, what the reason has to say
SPOILT: dict[str, tuple[Change, str]] = {
    "empty": (lambda text: "", "not valid JSON"),
    "cut short": (lambda text: text[:-20], "not valid JSON"),
    "not JSON": (lambda text: "schema: lut/1", "not valid JSON"),
    "not UTF-8": (lambda text: text.encode("utf-16"), "not valid JSON"),
    "NaN": (instead('"threads": 1', '"threads": NaN'), "'NaN' is not a number JSON knows"),
    "infinity": (instead('"threads": 1', '"threads": -Infinity'), "'-Infinity' is not a number JSON knows"),
    "a number too large": (instead('"threads": 1', '"threads": 1e999'), "environment '{"),
    "digits without end": (instead('"threads": 1', '"threads": 1' + "0" * 5000), "not valid JSON"),
    "half a character": (instead('"threads": 1', r'"threads": "\ud800"'), "environment '{"),
    "nested without end": (lambda text: "[" * 200_000, "not valid JSON"),
    "nested deeply": (setting(environment={"a": json.loads("[" * 300 + "]" * 300)}), "environment.a"),
    "key twice": (instead('"device"', '"device": "other",\n  "device"'), "key 'device' stands twice"),
    "inner key twice": (instead('"ops"', '"ops": 1, "ops"'), "key 'ops' stands twice"),
    "a list": (lambda text: f"[{text}]", "it holds no JSON object"),
    "null": (lambda text: "null", "it holds no JSON object"),
    "no schema": (without("schema"), "it names no schema"),
    "other schema": (setting(schema="plan/1"), "its schema is 'plan/1'"),
    "newer schema": (setting(schema="lut/2"), "'lut/2' is newer than 'lut/1'"),
    "older schema": (setting(schema="lut/0"), "'lut/0' is other than 'lut/1'"),
    "schema without end": (setting(schema="lut/" + "9" * 5000), "its schema is 'lut/999"),
    "schema as number": (setting(schema=1), "its schema is '1'"),
    "unknown key": (setting(comment="by hand"), "unknown key 'comment'"),
    "mistyped key": (setting(conditons="trt-15w"), "unknown key 'conditons'"),
    "mistyped inner key": (within("counts", netwroks=1), "unknown key 'counts.netwroks'"),
    "no device": (without("device"), "device: field required"),
    "no hashes": (without("sha256"), "sha256: field required"),
    "device as path": (setting(device="../pixel"), "device '../pixel'"),
    "device in upper case": (setting(device="Pixel"), "device 'Pixel'"),
    "device as object": (setting(device={"kind": "pixel"}), "device '{'kind': 'pixel'}'"),
    "device without end": (setting(device="x" * 5000), "device 'xxx"),
    "unknown runtime": (setting(runtime="tflite"), "runtime 'tflite'"),
    "unknown precision": (setting(precision="int4"), "precision 'int4'"),
    "empty conditions": (setting(conditions=""), "conditions ''"),
    "empty environment": (setting(environment={}), "environment '{}'"),
    "environment as text": (setting(environment="xnnpack"), "environment 'xnnpack'"),
    "no units": (setting(units=0), "units '0'"),
    "units as float": (setting(units=2.0), "units '2.0'"),
    "units as truth": (setting(units=True), "units 'True'"),
    "simulated as text": (setting(simulated="no"), "simulated 'no'"),
    "no date": (setting(created="yesterday"), "created 'yesterday'"),
    "no such day": (setting(created="2026-02-30"), "created '2026-02-30'"),
    "other environment": (within("environment", threads=2), "does not belong to its environment"),
    "other environment id": (setting(environment_id="0" * 12), "environment_id '000000000000'"),
    "hash too short": (within("sha256", **{"ops.csv": "abc"}), "sha256.ops.csv 'abc'"),
    "negative count": (within("counts", ops=-1), "counts.ops '-1'"),
    "two faults": (setting(units=0, precision="int4"), "(and 1 more)"),
}


@pytest.mark.parametrize(("change", "says"), SPOILT.values(), ids=SPOILT)
def test_a_spoilt_header_is_named(change: Change, says: str, saved: Path, spoil, refused) -> None:
    fault = refused(format.read, spoil("lut.json", change), names=saved / "lut.json")
    assert says in fault.why


@pytest.mark.parametrize(
    ("known", "says"),
    [
        ({"runtime": "torch"}, "it says runtime 'litert', and its environment 'torch'"),
        ({"runtime_version": "9.9"}, "it says runtime_version '2.1.0', and its environment '9.9'"),
        ({"precision": "int8"}, "it says precision 'fp32', and its environment 'int8'"),
        ({"threads": 4}, "its conditions say threads '1', and its environment '4'"),
        ({"runtime": "litert", "runtime_version": "2.1.0", "precision": "fp32", "threads": 1}, ""),
    ],
)
def test_a_header_agrees_with_its_environment(known: dict[str, Any], says: str, saved: Path, spoil, refused) -> None:
    def change(text: str) -> str:
        environment = json.loads(text)["environment"] | known
        identity = sha256_bytes(canonical_json(environment).encode())[:12]
        return json.dumps(json.loads(text) | {"environment": environment, "environment_id": identity})

    spoilt = spoil("lut.json", change)
    if says:
        assert says in refused(format.read, spoilt, names=saved / "lut.json").why
    else:
        assert format.header_of(spoilt).environment["precision"] == "fp32"


def test_what_resembles_nothing_is_no_slip(spoil, refused) -> None:
    fault = refused(format.read, spoil("lut.json", setting(colour="red")), names="lut.json")
    assert "unknown key 'colour'" in fault.why and fault.hints == (RESTORE,)


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (setting(conditons="trt-15w"), "did you mean 'conditions'?"),
        (setting(enviroment={}), "did you mean 'environment'?"),
        (lambda text: text.replace('"device":', '"devise":', 1), "did you mean 'device'?"),
        (setting(schema="lut/2"), "update ofa-lab"),
    ],
)  # fmt: skip
def test_a_slip_is_met_with_a_suggestion(change: Change, hint: str, spoil, refused) -> None:
    assert refused(format.read, spoil("lut.json", change), names="lut.json").hints == (hint,)


def test_the_header_says_what_it_should(table: Lut, saved: Path) -> None:
    found = json.loads((saved / "lut.json").read_text())
    assert found == {
        "schema": "lut/1",
        "device": "pixel-8",
        "runtime": "litert",
        "runtime_version": "2.1.0",
        "precision": "fp32",
        "conditions": "xnnpack-1t",
        "environment": table.header.environment,
        "environment_id": sha256_bytes(canonical_json(table.header.environment).encode())[:12],
        "protocol": {"rounds": 31},
        "units": 2,
        "simulated": False,
        "created": "2026-02-28",
        "counts": {"ops": len(table.rows), "networks": 7, "sessions": 2},
        "sha256": {part: sha256_bytes((saved / part).read_bytes()) for part in found["sha256"]},
        "calibration": None,
        "holdout": None,
    }
    assert set(found["sha256"]) == {"ops.csv", "networks.csv", "sessions.jsonl"}
    assert (saved / "lut.json").read_text().startswith('{\n  "calibration": null,\n')


def test_the_environment_alone_decides_its_id(table: Lut) -> None:
    again = table.header.model_dump()
    again["environment"] = dict(reversed(again["environment"].items()))
    assert Header(**again | {"units": 1, "created": "2025-01-01"}).environment_id == table.header.environment_id
    assert Header(**again | {"environment": {"threads": 2}}).environment_id != table.header.environment_id
    assert str(table.header.place) == table.name == "pixel-8/litert-fp32-xnnpack-1t"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", object()])
def test_no_header_is_made_that_could_not_be_written(table: Lut, value: object) -> None:
    for key in ("environment", "protocol"):
        with pytest.raises(ValidationError, match=key):
            Header(**table.header.model_dump() | {key: {"a": [value]}})


# part, change, what the reason has to say; nothing vouches for these files but the old header
UNSEALED: dict[str, tuple[str, Change, str]] = {
    "value changed": ("ops.csv", instead(",52000,50000", ",52001,50000"), "it was changed by hand"),
    "network changed": ("networks.csv", instead(",600,", ",601,"), "it was changed by hand"),
    "session changed": ("sessions.jsonl", instead("1.5", "2.5"), "it was changed by hand"),
    "last ops gone": ("ops.csv", lambda text: text[: text.rindex("\n", 0, -1) + 1], "it was cut short"),
    "last network gone": ("networks.csv", lambda text: text[: text.rindex("\n", 0, -1) + 1], "it was cut short"),
    "last session gone": ("sessions.jsonl", lambda text: text[: text.index("\n") + 1], "it was cut short"),
    "no session left": ("sessions.jsonl", lambda text: "", "it was cut short"),
}


@pytest.mark.parametrize(("part", "change", "says"), UNSEALED.values(), ids=UNSEALED)
def test_a_file_the_header_was_not_written_with_is_refused(part, change, says, saved: Path, spoil, refused) -> None:
    fault = refused(format.read, spoil(part, change, sealed=False), names=saved / part)
    assert says in fault.why and "lut.json" in fault.why


SESSION_1 = '{"id":"s1","transport":"adb","warm_s":1.5}'
SESSIONS: dict[str, tuple[Change, int, str]] = {
    "not JSON": (instead(SESSION_1, "id: s1"), 1, "not valid JSON"),
    "NaN": (instead("1.5", "NaN"), 1, "not valid JSON"),
    "a number too large": (instead("1.5", "1e999"), 1, "not valid JSON"),
    "nested without end": (instead("1.5", "[" * 100_000), 1, "not valid JSON"),
    "a list": (instead(SESSION_1, "[]"), 1, "id is 'None'"),
    "no id": (instead('"id":"s1",', ""), 1, "id is 'None'"),
    "id as number": (instead('"s1"', "1"), 1, "id is '1'"),
    "id with a space": (instead('"s1"', '"s 1"'), 1, "id is 's 1'"),
    "empty id": (instead('"s1"', '""'), 1, "id is ''"),
    "spaces": (instead('"s1",', '"s1", '), 1, "not in canonical form"),
    "other order": (instead('"id":"s1","transport":"adb"', '"transport":"adb","id":"s1"'), 1, "not in canonical form"),
    "key twice": (instead('"id":"s1"', '"id":"s1","id":"s1"'), 1, "not in canonical form"),
    "not ASCII": (instead(r"\u00fc", "ü"), 2, "not valid JSON"),
    "CRLF": (lambda text: text.replace("\n", "\r\n"), 1, "not in canonical form"),
    "blank line": (instead("\n", "\n\n"), 2, "not valid JSON"),
    "no end": (lambda text: text[:-1], 2, "cut short"),
    "not sorted": (lambda text: "".join(reversed(text.splitlines(keepends=True))), 2, "ids rise, each once"),
    "twice": (lambda text: SESSION_1 + "\n" + text, 2, "ids rise, each once"),
    "other environment": (instead('{"id"', '{"environment_id":"0123456789ab","id"'), 1, "environment '0123456789ab'"),
}


@pytest.mark.parametrize(("change", "line", "says"), SESSIONS.values(), ids=SESSIONS)
def test_a_spoilt_session_is_named(change: Change, line: int, says: str, saved: Path, spoil, refused) -> None:
    fault = refused(format.read, spoil("sessions.jsonl", change), names=saved / "sessions.jsonl")
    assert says in fault.why and fault.what.endswith(f"wrong in line {line}")


def test_a_session_may_name_the_environment_of_its_table(table: Lut, spoil) -> None:
    own = table.header.environment_id
    found = format.read(spoil("sessions.jsonl", instead('{"id"', f'{{"environment_id":"{own}","id"')))
    assert found.sessions[0]["environment_id"] == own


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("sessions.jsonl", instead('"transport":"adb"', '"transport":"simulated"')),
        ("sessions.jsonl", instead("1.5", '[{"simulated":true}]')),
        ("ops.csv", instead("drift;wide", "simulated")),
        ("networks.csv", instead("wide", "simulated")),
    ],
)
def test_a_table_cannot_hide_that_it_is_simulated(part: str, change: Change, saved: Path, spoil, refused) -> None:
    fault = refused(format.read, spoil(part, change), names=saved / "lut.json")
    assert "simulated is 'False'" in fault.why


def test_a_session_nested_deeply_is_searched_for_simulated_values(spoil, refused) -> None:
    deep = '{"a":' * 600 + '{"simulated":true}' + "}" * 600
    fault = refused(format.read, spoil("sessions.jsonl", instead("1.5", deep)), names="lut.json")
    assert "simulated is 'False'" in fault.why


@pytest.mark.parametrize("part", format.MOST_BYTES)
def test_a_missing_file_is_named(part: str, saved: Path, refused) -> None:
    (saved / part).unlink()
    assert f"lacks '{part}'" in refused(format.read, saved, names=saved).what


@pytest.mark.parametrize("part", format.MOST_BYTES)
def test_a_folder_in_place_of_a_file_is_refused(part: str, saved: Path, refused) -> None:
    (saved / part).unlink()
    (saved / part).mkdir()
    refused(format.read, saved, names=saved / part)


@pytest.mark.parametrize("part", format.MOST_BYTES)
def test_an_oversized_file_is_refused_unread(part: str, saved: Path, refused, monkeypatch: pytest.MonkeyPatch) -> None:
    size = (saved / part).stat().st_size
    monkeypatch.setitem(format.MOST_BYTES, part, size)
    format.read(saved)
    monkeypatch.setitem(format.MOST_BYTES, part, size - 1)
    fault = refused(format.read, saved, names=saved / part)
    assert "is too large" in fault.what and f"{size:,} bytes" in fault.why


def test_the_caps_leave_room_for_real_tables() -> None:
    assert all(most_bytes >= 1 << 20 for most_bytes in format.MOST_BYTES.values())
    assert format.MOST_BYTES["ops.csv"] >= 20_000 * 200


def test_what_is_no_folder_of_a_table_is_refused(tmp_path: Path, saved: Path, refused) -> None:
    assert "no such folder" in refused(format.read, tmp_path / "absent", names=tmp_path / "absent").why
    assert "no such folder" in refused(format.read, tmp_path / "absent" / "lut.json", names=tmp_path / "absent").why
    assert "is no folder" in refused(format.read, saved / "ops.csv", names=saved / "ops.csv").why
    (tmp_path / "empty").mkdir()
    assert "none of the files" in refused(format.read, tmp_path / "empty", names=tmp_path / "empty").why


def test_a_table_is_found_by_its_header_too(table: Lut, saved: Path) -> None:
    assert format.read(saved / "lut.json") == format.read(saved) == table.sorted()
