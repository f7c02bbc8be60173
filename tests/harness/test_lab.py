"""The lab's list of devices: strictly read, and each device of it made with the way to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.inventory import device_named
from harness.lab import FOLDER_VARIABLE, LAB, Lab, read_lab
from harness.lease import host_id, token_of
from harness.native.devices import reached
from harness.native.transport import Native
from harness.transport.simulated import Simulated
from ofa.errors import FileInvalid, OfaError, UsageInvalid

GOOD = """
schema = "lab/1"
[groups.rack]
max_parallel = 2
[devices.warm-phone]
kind = "simulated-phone"
group = "rack"
simulation = { seed = 7 }
[devices.cold-phone]
kind = "simulated-phone"
[devices.board]
kind = "this-computer"
ssh = "lab@10.0.0.7:2222"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "lab"))
    (tmp_path / "lab").mkdir()
    return tmp_path / "lab"


def test_no_list_is_an_empty_one(folder: Path) -> None:
    assert read_lab() == Lab()


def test_devices_of_the_list_have_files_and_seeds_of_their_own(folder: Path, tmp_path: Path) -> None:
    (folder / LAB).write_text(GOOD)
    warm, cold = (device_named(name, tmp_path / "files") for name in ("warm-phone", "cold-phone"))
    assert (warm.name, warm.kind) == ("warm-phone", "simulated-phone")
    assert isinstance(warm.transport, Simulated) and isinstance(cold.transport, Simulated)
    assert warm.transport.machine.seed == 7 and cold.transport.machine.seed != 7
    assert warm.transport.files != cold.transport.files
    assert device_named("simulated-phone", tmp_path / "files").unit is None


def test_a_program_is_the_lists_where_no_option_names_one(folder: Path, tmp_path: Path) -> None:
    kind = '[devices.x]\nkind = "this-computer"\nruntime = "benchmark_model"\n'
    for said, path, there in (
        ('"builds/model"', folder / "builds" / "model", False),
        ('"device:/opt/model"', Path("/opt/model"), True),
    ):
        (folder / LAB).write_text(f'schema = "lab/1"\n{kind}program = {said}\n')
        (folder / "builds").mkdir(exist_ok=True)
        for name in ("model", "other"):
            (folder / "builds" / name).touch()
        listed = reached("x", tmp_path, runtime="benchmark_model", program=None).transport
        assert isinstance(listed, Native) and (listed.program, listed.on_device) == (path, there)
        named = reached("x", tmp_path, runtime="benchmark_model", program=folder / "builds" / "other").transport
        assert isinstance(named, Native) and named.program == folder / "builds" / "other"
    # Of another runtime the list says nothing.
    with pytest.raises(UsageInvalid) as refused:
        reached("x", tmp_path, runtime="ort_perf_test", program=None)
    assert "'x'" in refused.value.what and "program = " in refused.value.hints[1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("devices = 3", "devices"),
        ("[devices.x]\nkindd = 'a'", "did you mean 'kind'?"),
        ("[devices.x]\nkind = 'a'\nruntime = 'litert'\nprogram = 'p'", "'program' goes with a runtime that is one"),
        ("[devices.x]\nkind = 'a'\nprogram = 'p'", "'program' goes with a runtime that is one"),
        ("[devices.x]\nkind = 'a'\nssh = 'b'\nport = 22", 'ssh = "user@host:port"'),
        ("[devices.x]\nkind = 'a'\nssh = 'b'\nprot = 22", "there is no 'port'; write all of it in one"),
        ("[devices.x]\nkind = 'a'\nserial = 'b'", 'adb = "SERIAL"'),
        ("[devices.x]\nkind = 'a'\nadb = 'b'\nadb_prot = 22", "did you mean 'adb_port'?"),
        ("[devices.x]\nkind = 'a'\nzzz = 'b'", "every key is told in docs/add-a-device.md"),
        ("[devices.x]\nkind = 'a'\nssh = 'b'\nadb = 'c'", "reached in one way"),
        ("[devices.x]\nkind = 'a'\nadb_port = 5", "goes with 'adb'"),
        ("[devices.x]\nkind = 'a'\ngroup = 'rack'", "which [groups] does not have"),
        ("[devices.x]\nkind = 'a'\nprecision = 'int8'", "'precision' goes with 'runtime'"),
        ("[devices.x]\nkind = 'a'\nruntime = 'caffe'", "runtime"),
        ("[devices.'../x']\nkind = 'a'", "pattern"),
        ("[devices.x]\nkind = 'a'\nssh = \"b\\nProxyCommand evil\"", "pattern"),
        ("[devices.x]\nkind = 'a'\nssh = 'b'\nenvironment = { 'A=B' = 'c' }", "pattern"),
        ("[[", "TOML"),
    ],
)
def test_a_wrong_list_is_refused_with_its_place(folder: Path, text: str, words: str) -> None:
    (folder / LAB).write_text(text)
    with pytest.raises(FileInvalid) as refused:
        read_lab()
    assert words in str(refused.value) and str(folder / LAB) in str(refused.value)


def test_a_kind_alone_says_nothing_of_where_a_device_is(folder: Path, tmp_path: Path) -> None:
    (folder / LAB).write_text("[devices.x]\nkind = 'no-such-kind'\nssh = 'b'")
    with pytest.raises(FileInvalid, match="profile 'no-such-kind'"):
        device_named("x", tmp_path)
    with pytest.raises(OfaError, match="no device is called 'y'"):
        device_named("y", tmp_path)


def test_a_host_has_one_name_for_good(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = host_id()
    assert len(first) == 32 and host_id() == first
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "another home"))
    assert host_id() != first


def test_hosts_that_share_a_home_are_two_owners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFA_LAB", str(tmp_path / "lab"))
    tokens = []
    for name in ("rack-1", "rack-2", "rack-1"):
        monkeypatch.setattr("platform.node", lambda name=name: name)
        tokens.append(token_of(tmp_path / "run"))
    assert tokens[0] == tokens[2] != tokens[1] and all(len(token) == 32 for token in tokens)


def test_a_host_is_told_apart_where_the_disk_knows_no_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setenv("OFA_LAB", str(tmp_path / "lab"))
    monkeypatch.setattr("os.link", no)
    first = host_id()
    assert len(first) == 32 and host_id() == first
    assert [path.name for path in (tmp_path / "lab").iterdir()] == ["host-id"]
