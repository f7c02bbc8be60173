"""Drive headless Chromium through its debugging pipe, with the standard library alone."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
)
# The pipe is descriptors 3 and 4 of the browser; a small launcher puts ours there.
_LAUNCH = (
    "import os,sys;"
    "r,w=os.dup(int(sys.argv[1])),os.dup(int(sys.argv[2]));"
    "r,w=[f if f>4 else __import__('fcntl').fcntl(f,0,10) for f in (r,w)];"
    "os.dup2(r,3);os.dup2(w,4);os.execv(sys.argv[3],sys.argv[3:])"
)

# What is drawn of each figure: its size, how many marks it has, and whether its axis titles are inside their card.
DRAWN = """[...document.querySelectorAll('.plot')].map(plot => {
    const box = plot.getBoundingClientRect(), card = plot.parentElement.getBoundingClientRect();
    const marks = plot.querySelectorAll(
        '.points path, .scatterlayer .js-line, .heatmaplayer image, .heatmaplayer path, .barlayer path, .boxes path');
    const titles = [...plot.querySelectorAll('.xtitle, .ytitle')].map(one => one.getBoundingClientRect());
    return {id: plot.id, width: box.width, height: box.height, marks: marks.length, titles: titles.length,
        inside: box.left >= card.left && box.right <= card.right &&
            titles.every(one => one.width > 0 && one.left >= box.left - 1 && one.right <= box.right + 1)};
})"""


def binary() -> str | None:
    """Return where Chromium is, or None."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


class Browser:
    """One browser with one page; ``events`` keeps everything the page told."""

    def __init__(self, program: str, profile: Path) -> None:
        """Start the browser with an empty profile."""
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        launch = [sys.executable, "-c", _LAUNCH, str(to_read), str(to_write), program]
        self._process = subprocess.Popen(
            [*launch, *FLAGS, f"--user-data-dir={profile}"],
            pass_fds=(to_read, to_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(to_write)
        self._buffer = b""
        self._count = 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> Browser:
        """Attach to a new page and listen."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the browser that was started."""
        os.close(self._write)
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._read)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result."""
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next(120)
            if answer.get("id") != self._count:
                self.events.append(answer)
            elif "error" in answer:
                raise RuntimeError(f"{method}: {answer['error']}")
            else:
                return dict(answer["result"])

    def _next(self, limit_s: float) -> dict[str, Any]:
        end = time.monotonic() + limit_s
        while b"\0" not in self._buffer:
            if not select.select([self._read], [], [], max(0.0, end - time.monotonic()))[0]:
                raise TimeoutError("the browser does not answer")
            data = os.read(self._read, 1 << 16)
            if not data:
                raise RuntimeError("the browser ended")
            self._buffer += data
        text, self._buffer = self._buffer.split(b"\0", 1)
        return dict(json.loads(text))

    def open(self, address: str, *, width: int, scheme: str = "light", phone: bool = False) -> None:
        """Open a page at a width in CSS pixels and a colour scheme, and wait until its figures are drawn."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=phone)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.events.clear()
        self.call("Page.navigate", url=address)
        end = time.monotonic() + 90
        while not self.value("document.documentElement?.dataset.drawn || ''"):
            if time.monotonic() > end:
                raise TimeoutError(f"the figures were not drawn: {self.complaints()}")
            time.sleep(0.05)
        self.value("new Promise(done => requestAnimationFrame(() => setTimeout(done, 100)))")

    def value(self, expression: str) -> Any:
        """Return the JSON value of a JavaScript expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(str(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def complaints(self) -> list[str]:
        """Return every console warning and error, exception and log entry since the page was opened."""
        found = []
        for event in self.events:
            method, facts = event.get("method"), event.get("params", {})
            if method == "Runtime.exceptionThrown":
                found.append(str(facts["exceptionDetails"]))
            elif method == "Runtime.consoleAPICalled" and facts["type"] in ("error", "warning", "assert"):
                found.append(str(facts["args"]))
            elif method == "Log.entryAdded" and facts["entry"]["level"] in ("error", "warning"):
                found.append(str(facts["entry"]))
        return found

    def requests(self) -> list[str]:
        """Return the address of every request since the page was opened, but for data inside the page."""
        sent = [event["params"] for event in self.events if event.get("method") == "Network.requestWillBeSent"]
        return [one["request"]["url"] for one in sent if not one["request"]["url"].startswith(("data:", "blob:"))]

    def screenshot(self, path: Path) -> None:
        """Save the whole page as a picture."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))
