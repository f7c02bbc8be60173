"""A slow wire that loses packets, for tests: two TUN devices, and a process that carries packets between them late."""

from __future__ import annotations

import fcntl
import os
import random
import select
import struct
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass, field

TUN = "/dev/net/tun"
# Of linux/if_tun.h: give this descriptor a device; packets without a header of four bytes.
SET_DEVICE, PLAIN_TUN = 0x400454CA, 0x1001
MOST_PACKET_BYTES = 1 << 16
END_S = 5.0


@dataclass(slots=True, kw_only=True)
class Wire:
    """How late packets come each way, and which share of them never does; one seed loses the same ones in order."""

    delay_ms: float
    loss: float = 0.0
    seed: int = 1
    lost: int = 0
    carried: int = 0
    ends: list[int] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None

    def lay(self, *names: str) -> None:
        """Make a device for each end, and begin to carry; whoever asked puts the ends where they belong."""
        for name in names:
            end = os.open(TUN, os.O_RDWR | os.O_NONBLOCK)
            self.ends.append(end)
            fcntl.ioctl(end, SET_DEVICE, struct.pack("16sH22x", name.encode(), PLAIN_TUN))
        settings = (self.delay_ms, self.loss, self.seed)
        self.process = subprocess.Popen(
            [sys.executable, __file__, *map(str, (*self.ends, *settings))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=self.ends, start_new_session=True,
        )  # fmt: skip

    def take_up(self) -> None:
        """End it, and count what was carried and what was lost; the devices go with their descriptors."""
        if self.process is not None:
            try:
                said, _ = self.process.communicate(timeout=END_S)
                self.carried, self.lost = map(int, said.split())
            finally:
                self.process.kill()
                self.process.wait()
        while self.ends:
            os.close(self.ends.pop())


def carry(here: int, there: int, *, delay_s: float, loss: float, seed: int) -> tuple[int, int]:
    """Carry packets both ways until stdin ends; return how many were carried and how many lost."""
    other = {here: there, there: here}
    waiting: deque[tuple[float, int, bytes]] = deque()  # all are equally late: the first in is the first out
    chance = random.Random(seed)
    carried = lost = 0
    while True:
        left_s = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        ready, _, _ = select.select([here, there, sys.stdin.fileno()], [], [], left_s)
        if sys.stdin.fileno() in ready:
            return carried, lost
        for end in ready:
            packet = os.read(end, MOST_PACKET_BYTES)
            if chance.random() < loss:
                lost += 1
            else:
                waiting.append((time.monotonic() + delay_s, other[end], packet))
        while waiting and waiting[0][0] <= time.monotonic():
            _, end, packet = waiting.popleft()
            try:
                os.write(end, packet)
                carried += 1
            except OSError:  # the device at that end is down, or its queue full: a packet lost, as on any wire
                lost += 1


if __name__ == "__main__":
    one, two, delay_ms, loss, seed = sys.argv[1:]
    counts = carry(int(one), int(two), delay_s=float(delay_ms) / 1000, loss=float(loss), seed=int(seed))
    sys.stdout.write("{} {}\n".format(*counts))
