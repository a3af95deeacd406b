"""A Chromium that a test looks at pages with, through chromedriver's protocol (W3C WebDriver)."""

import base64
import json
import re
import shutil
import subprocess
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

KEYS = {
    "Enter": "\ue007",
    "Escape": "\ue00c",
    "Tab": "\ue004",
    "Home": "\ue011",
    "End": "\ue010",
    "ArrowLeft": "\ue012",
    "ArrowUp": "\ue013",
    "ArrowRight": "\ue014",
    "ArrowDown": "\ue015",
}


class Browser:
    """One window; what is saved from a page comes into ``downloads``."""

    def __init__(self, folder: Path) -> None:
        self.downloads = folder / "downloads"
        self.downloads.mkdir()
        chromium, driver = _found("chromium", "chromium-browser"), _found("chromedriver")
        self._driver = subprocess.Popen(
            [driver, "--port=0"], stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL
        )
        self._url = ""
        assert self._driver.stdout is not None
        for line in self._driver.stdout:
            if port := re.search(r"successfully on port (\d+)", line):
                self._url = f"http://127.0.0.1:{port[1]}/session"
                break
        options = {
            "binary": chromium,
            "args": [
                *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
                f"--user-data-dir={folder / 'profile'}",
            ],
            "prefs": {"download.default_directory": str(self.downloads)},
        }
        wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}
        self._url += "/" + self._ask("", wanted)["sessionId"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(self._url, method="DELETE"), timeout=30)
        finally:
            self._driver.terminate()
            self._driver.wait()
            if self._driver.stdout is not None:
                self._driver.stdout.close()

    def _ask(self, path: str, body: Any) -> Any:
        request = urllib.request.Request(
            self._url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as reply:
            return json.load(reply)["value"]

    def open(self, page: Path, *, state: str = "", width: int = 1440) -> None:
        """Load a page anew in a window of this width in CSS pixels; ``state`` stands behind #."""
        self._ask("/url", {"url": "about:blank"})
        self.cdp(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=False,
        )
        self._ask("/url", {"url": page.as_uri() + (f"#{state}" if state else "")})

    def cdp(self, command: str, **parameters: Any) -> Any:
        """A command of Chromium's own protocol."""
        return self._ask("/goog/cdp/execute", {"cmd": command, "params": parameters})

    def run(self, script: str, *arguments: Any) -> Any:
        """What a function body in the page returns."""
        return self._ask("/execute/sync", {"script": script, "args": list(arguments)})

    def wait(self, script: str) -> Any:
        """What it returns once that is true; looks again for at most 10 seconds."""
        looking = f"""
            const told = arguments[0], until = performance.now() + 10000;
            const look = () => {{
                const found = (() => {{ {script} }})();
                if (found || performance.now() > until) told(found); else setTimeout(look, 20);
            }};
            look();"""
        return self._ask("/execute/async", {"script": looking, "args": []})

    def press(self, *keys: str) -> None:
        """Keys one after another, by the names of :data:`KEYS` or as characters."""
        actions = [
            {"type": kind, "value": KEYS.get(key, key)}
            for key in keys
            for kind in ("keyDown", "keyUp")
        ]
        self._ask("/actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def click(self, selector: str) -> None:
        """The middle of the first element that fits."""
        found = self._ask("/element", {"using": "css selector", "value": selector})
        (identity,) = found.values()
        self._ask(f"/element/{identity}/click", {})

    def screenshot(self, path: Path) -> None:
        """What the window shows, as PNG."""
        data = self.cdp("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(data))


def _found(*names: str) -> str:
    for name in names:
        if path := shutil.which(name):
            return path
    pytest.skip(f"needs {' and '.join(names[:1])}, which is not installed")
