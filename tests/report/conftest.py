"""A real browser that opens pages without a screen."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

WIDTHS = {"desktop": 1200, "phone": 390}
# A frame is as wide as a screen: what is inside is laid out for that width, and may be measured.
LOOK = """<!doctype html><meta charset="utf-8"><body>FRAMES<pre id="seen"></pre><script>
addEventListener("load", () => {
  const seen = {};
  for (const frame of document.querySelectorAll("iframe")) {
    const inside = frame.contentDocument, shown = [...inside.querySelectorAll("svg")].filter((one) => one.clientWidth > 0);
    seen[frame.id] = { width: inside.documentElement.scrollWidth, plots: shown.length, height: inside.body.scrollHeight,
      smallest: Math.min(...shown.flatMap((one) => [...one.querySelectorAll("text")].map((text) =>
        parseFloat(frame.contentWindow.getComputedStyle(text).fontSize) * one.clientWidth / one.viewBox.baseVal.width))) };
  }
  document.getElementById("seen").textContent = JSON.stringify(seen);
});
</script>"""


@dataclass(frozen=True)
class Look:
    """A page at one width, in pixels: the width it needs, its height, plots that are seen, the smallest text in them."""

    width: int
    height: int
    plots: int
    smallest: float


@dataclass(frozen=True)
class Seen:
    """What a browser made of a page: by width; messages on its console; addresses that it asked for."""

    looks: dict[str, Look]
    console: list[str]
    requests: list[str]


Browse = Callable[[Path], Seen]


@pytest.fixture
def browse(tmp_path: Path) -> Browse:
    """Opens a page on a desktop and a phone."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium on this machine")

    def open_page(page: Path) -> Seen:
        frames = "".join(
            f'<iframe id="{name}" src="{page.as_uri()}" width="{width}" height="2000" frameborder="0"></iframe>'
            for name, width in WIDTHS.items()
        )
        (tmp_path / "look.html").write_text(LOOK.replace("FRAMES", frames))
        log = tmp_path / "net.json"
        command = [
            chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-web-security",
            "--allow-file-access-from-files", "--disable-background-networking", "--disable-component-update",
            "--disable-extensions", "--no-first-run", "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr",
            f"--log-net-log={log}", "--virtual-time-budget=10000", "--dump-dom", (tmp_path / "look.html").as_uri(),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        found = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.DOTALL)
        assert found is not None, done.stdout[-2000:]
        looks = {name: Look(**values) for name, values in json.loads(found[1]).items()}
        console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
        events = (event.get("params", {}) for event in json.loads(log.read_text())["events"])
        # the browser's own business has no origin
        asked = [event["url"] for event in events if "url" in event and "://" in event.get("initiator", "")]
        return Seen(looks, console, [url for url in asked if not url.startswith("file:")])

    return open_page
