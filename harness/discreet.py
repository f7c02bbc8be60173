"""Keeps how a device is found out of all that may be passed on: journals, tables, logs. Its name in the lab's list
stands for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from harness.inventory import Device
from harness.refusals import told_by_check
from ofa.errors import OfaError

# What a device says of itself is not ours to know beforehand: folders of people, and addresses.
FOLDER_OF_SOMEBODY = re.compile(r"/(?:home|Users)/[^/\s'\":]+")
IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?(?![\w.])")
ADDRESS, PATH = "ADDRESS", "PATH"
# The parts of one address are replaced each for itself.
PARTS = re.compile(f"{ADDRESS}(?:{ADDRESS})+")


def private(device: Device) -> list[str]:
    """Return the words by which a device is found, longest first. A word of its own name is no secret: that stands in
    messages and journals, and a board may be called as its host is.
    """
    found = {word for word in device.transport.private if word and word not in device.name}
    return sorted(found, key=len, reverse=True)


def public(device: Device, text: str) -> str:
    """Return a text without the words by which a device is found: what is kept may be passed on."""
    for word in private(device):
        text = text.replace(word, PATH if word.startswith("/") else ADDRESS)
    return PARTS.sub(ADDRESS, IPV4.sub(ADDRESS, FOLDER_OF_SOMEBODY.sub("~", text)))


def public_hints(device: Device, hints: Sequence[str]) -> tuple[str, ...]:
    """Return what to try without the words by which a device is found: a command that lacks one cannot be run, so in
    the place of such hints stands, once, the command that prints them whole. Of others only what may tell of somebody
    else is left out: they can still be followed.
    """
    words = private(device)
    lacking = told_by_check(device.name)
    kept = (lacking if any(word in hint for word in words) else public(device, hint) for hint in hints)
    return tuple(dict.fromkeys(kept))


@contextmanager
def discreetly(device: Device) -> Iterator[None]:
    """Let an error of the block name the device only as the lab does: what a command says ends in logs.

    Of a device that has no address nothing is left out: all there is in the message are the user's own paths.
    """
    try:
        yield
    except OfaError as fault:
        if not device.transport.private:
            raise
        fault.what, fault.why = public(device, fault.what), public(device, fault.why)
        fault.hints = public_hints(device, fault.hints)
        raise
