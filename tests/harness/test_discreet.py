"""A text that is passed on has no address, user's folder or word by which a device is found."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.discreet import discreetly, public
from harness.errors import device_lost
from harness.inventory import Device
from ofa.errors import DeviceLost


class Elsewhere:
    """A way to a device that is found by two words."""

    private = ("lab@board.example:2222", "board.example", "")
    remote = True


# Put together here, since a test looks for paths of one machine.
SOMEBODY = "/".join(("", "home", "zaphod"))


@pytest.fixture
def far(device: Device) -> Device:
    return replace(device, transport=Elsewhere(), unit="board-42")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("'lab@board.example:2222' opened no session", "'ADDRESS' opened no session"),
        ("no route to board.example", "no route to ADDRESS"),
        ("connect to 10.0.0.7:22 failed, 10.0.0.8 too", "connect to ADDRESS failed, ADDRESS too"),
        (f'File "{SOMEBODY}/.cache/ofa-lab/agent-1.pyz"', 'File "~/.cache/ofa-lab/agent-1.pyz"'),
        ("onnxruntime 1.32.0, version 2.3.1", "onnxruntime 1.32.0, version 2.3.1"),
    ],
)
def test_what_leads_to_a_device_is_left_out(said: str, kept: str, far: Device) -> None:
    assert public(far, said) == kept


def test_an_error_names_the_device_as_the_lab_does(far: Device, device: Device) -> None:
    fault = device_lost("board-42", "lab@board.example:2222 is silent", "ping board.example")
    with pytest.raises(DeviceLost) as caught, discreetly(far):
        raise fault
    assert "board.example" not in str(caught.value) and "'board-42'" in str(caught.value)
    with pytest.raises(DeviceLost, match="this-computer") as near, discreetly(device):
        raise device_lost("this-computer", f"{SOMEBODY}/python is not there")
    assert f"{SOMEBODY}/python" in str(near.value), "of this computer the user's own paths are of use"


def test_a_hint_that_would_lose_an_address_names_the_command_that_prints_it(far: Device) -> None:
    fault = device_lost(
        "board-42", "'lab@board.example:2222' took none", "'ssh-copy-id -p 2222 lab@board.example' here",
        "ping board.example", "or start it",
    )  # fmt: skip
    with pytest.raises(DeviceLost) as caught, discreetly(far):
        raise fault
    check, other = caught.value.hints
    assert "'ofa devices check board-42'" in check and "ADDRESS" not in check and other == "or start it"


def test_a_device_that_is_called_as_its_host_keeps_its_name_and_what_to_type(device: Device) -> None:
    class SameName(Elsewhere):
        private = ("me@other-pc", "other-pc", "me@")

    one = replace(device, transport=SameName(), unit="other-pc")  # type: ignore[arg-type]
    fault = device_lost(
        "other-pc", "'me@other-pc' is silent", "ofa devices check other-pc", f"look at {SOMEBODY}/run/log",
        "ssh me@other-pc true",
    )  # fmt: skip
    with pytest.raises(DeviceLost, match="device 'other-pc'") as caught, discreetly(one):
        raise fault
    assert caught.value.why.startswith("'ADDRESS' is silent")
    check, log, told = caught.value.hints
    assert (check, log) == ("ofa devices check other-pc", "look at ~/run/log") and "prints what to type" in told


def test_parts_of_one_address_are_one_word_and_paths_are_called_so(device: Device) -> None:
    class Parts(Elsewhere):
        private = ("lab@", "board.example", "/opt/secret/python")

    one = replace(device, transport=Parts(), unit="board-42")  # type: ignore[arg-type]
    assert public(one, "ssh lab@board.example") == "ssh ADDRESS"
    assert public(one, "its python '/opt/secret/python' cannot be run") == "its python 'PATH' cannot be run"
