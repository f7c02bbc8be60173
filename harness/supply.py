"""Brings to a device the model files it lacks: many small ones as one pack, each checked there against its name."""

from __future__ import annotations

import tarfile
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from harness.answers import Unpacked
from harness.link import Link
from harness.plan import EMPTY, IO
from harness.refusals import pack_without_room
from harness.transport.contract import OnBytes, silent
from ofa.errors import DeviceFull, DeviceLost
from ofa.files import sha256_file

# A pack lies on the device beside what comes out of it, and is sent again as a whole where the link broke.
PACK_BYTES = 32 << 20
# Over a slow link a pack is longer on its way than a lease holds that nobody renews.
RENEW_S = 30.0


def supply(link: Link, names: Iterable[str], *, on_bytes: OnBytes = silent) -> None:
    """Bring files by name from this computer's folder, as far as they are lacking there.

    ``on_bytes`` is told how many of how many bytes are there. A file that is not here either is left out: the device
    will say that it cannot run it. Raises DeviceLost, and MeasurementRefused where the device has no room.
    """
    if not link.remote:
        return
    transport = link.device.transport
    wanted = [name for name in dict.fromkeys(names) if name not in (EMPTY, IO)]
    absent = link.kept(lambda: link.lacking(wanted))
    paths = [path for name in absent if (path := transport.files / name).is_file()]
    done, total = 0, sum(path.stat().st_size for path in paths)
    for group in _groups(paths):
        size_bytes = sum(path.stat().st_size for path in group)
        tell = _renewing(link, partial(_tell, on_bytes, done, size_bytes, total))
        with _packed(group) as pack:
            transport.push(pack, pack.name, on_bytes=tell)
            try:
                link.kept(partial(link.one, {"do": "unpack", "pack": pack.name}, Unpacked))
            except DeviceFull as fault:
                raise pack_without_room(link.device.name, len(group), size_bytes) from fault
        done += size_bytes
        on_bytes(done, total)


def _tell(on_bytes: OnBytes, done: int, size_bytes: int, total: int, sent: int, whole: int) -> None:
    """Turn what is sent of a pack into what is there of all files: the pack's own headers are no one's concern."""
    on_bytes(done + min(sent, size_bytes), total)


def _renewing(link: Link, tell: OnBytes) -> OnBytes:
    """Return what tells so and renews the device's lease now and then, where it is held by one."""
    renewed_s = time.monotonic()

    def told(sent: int, whole: int) -> None:
        nonlocal renewed_s
        if link.device.lease is not None and time.monotonic() - renewed_s > RENEW_S:
            renewed_s = time.monotonic()
            # What is wrong with the agent is found when it is asked to unpack.
            with suppress(DeviceLost):
                link.lacking([])
        tell(sent, whole)

    return told


@contextmanager
def _packed(paths: list[Path]) -> Iterator[Path]:
    """Give a pack of some files, named by its own content; it is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "pack"
        with tarfile.open(draft, "w", format=tarfile.USTAR_FORMAT) as pack:
            for path in paths:
                member = tarfile.TarInfo(path.name)
                member.size = path.stat().st_size
                with path.open("rb") as stream:
                    pack.addfile(member, stream)
        yield draft.rename(draft.with_name(sha256_file(draft)))


def _groups(paths: list[Path]) -> Iterator[list[Path]]:
    """Yield files in order, so many at a time as fit into a pack; a larger one goes alone."""
    group: list[Path] = []
    size_bytes = 0
    for path in paths:
        if group and size_bytes + path.stat().st_size > PACK_BYTES:
            yield group
            group, size_bytes = [], 0
        group.append(path)
        size_bytes += path.stat().st_size
    if group:
        yield group
