"""The page as a process, and a real browser that looks at it."""

import base64
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from archive_made_here import free_port, wait_until
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By

NEEDS_BROWSER = pytest.mark.skipif(
    not shutil.which("chromedriver"), reason="needs chromium and chromium-driver"
)
# Text may be cut nowhere: what is too wide scrolls in a box of its own.
_CUT_OFF = """
    return [...document.querySelectorAll('p, li, h1, h2, h3, figure, dd, .card, .outcome, button, label')]
    .filter(e => e.offsetParent && !e.closest('.q-table__middle, .scrolls, pre, .q-tabs'))
    .filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 120))"""


class App:
    """`covid-monai app` on a free port.

    Args:
        log: File for what it prints.
        arguments: As on the command line.
    """

    def __init__(self, log: Path, *arguments: object) -> None:
        port = free_port()
        self.url, self._log = f"http://127.0.0.1:{port}", log
        command = [sys.executable, "-m", "covid_monai", "app", "--port", port, *arguments]
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                list(map(str, command)),
                stdout=file,
                stderr=subprocess.STDOUT,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
        try:
            wait_until(self._answers, seconds=120, what="answer of the page")
        except BaseException:
            self.stop()
            raise

    def _answers(self) -> bool:
        assert self._process.poll() is None, self.printed
        try:
            with urllib.request.urlopen(self.url, timeout=10) as answer:
                return answer.status == 200
        except urllib.error.URLError:
            return False

    @property
    def printed(self) -> str:
        """What it has said so far."""
        return self._log.read_text(errors="replace")

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(20)


class Browser:
    """Chromium, and what tests ask of it again and again.

    Args:
        folder: For its profile and for what it downloads.
    """

    def __init__(self, folder: Path) -> None:
        self.downloads = folder / "downloads"
        self.downloads.mkdir(parents=True)
        options = webdriver.ChromeOptions()
        for flag in (
            *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"),
            *("--disable-background-networking", "--disable-component-update"),
            f"--user-data-dir={folder / 'profile'}",
        ):
            options.add_argument(flag)
        options.add_experimental_option("prefs", {"download.default_directory": str(self.downloads)})
        service = webdriver.ChromeService(shutil.which("chromedriver"))
        self.driver = webdriver.Chrome(options=options, service=service)

    def resize(self, width: int, *, dark: bool = False) -> None:
        """Set the width of the screen, and whether its owner likes it dark."""
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        liking = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": liking})

    def find(self, selector: str) -> list:
        """All visible elements that fit."""
        return [e for e in self.driver.find_elements(By.CSS_SELECTOR, selector) if e.is_displayed()]

    def await_one(self, selector: str, *, text: str = "", seconds: float = 60):
        """The first visible element that fits and holds a text, as soon as there is one."""

        def found():
            try:
                return next((e for e in self.find(selector) if text in e.text), None)
            except StaleElementReferenceException:  # drawn anew meanwhile
                return None

        return wait_until(found, seconds=seconds, what=f"{selector} with {text!r}")

    def texts(self, selector: str) -> list[str]:
        """What all visible elements that fit say, at one moment."""
        script = """return [...document.querySelectorAll(arguments[0])]
            .filter(e => e.offsetParent).map(e => e.innerText)"""
        return self.driver.execute_script(script, selector)

    def open_tab(self, name: str) -> None:
        """Show one of the page's tabs."""
        self.await_one(".q-tab", text=name).click()
        wait_until(
            lambda: any(name in e.text for e in self.find(".q-tab--active")), seconds=20, what=f"tab {name}"
        )

    def hand_in(self, *files: Path) -> None:
        """Choose files in the dropzone of the tab that is shown."""
        zones = [e for e in self.driver.find_elements(By.CSS_SELECTOR, ".dropzone") if e.is_displayed()]
        zones[0].find_element(By.CSS_SELECTOR, "input").send_keys("\n".join(map(str, files)))

    def choose(self, label: str, option: str) -> None:
        """Choose an option of a select box."""
        self.await_one(f".q-select [aria-label='{label}'], .q-select", text=label).click()
        self.await_one(".q-menu .q-item", text=option).click()
        wait_until(lambda: not self.find(".q-menu"), seconds=20, what="menu to close")

    def downloaded(self, suffix: str) -> bytes:
        """The one file with this suffix that was downloaded, which is then removed."""

        def complete():
            return next((p for p in self.downloads.iterdir() if p.suffix == suffix), None)

        path = wait_until(complete, seconds=60, what=f"download of {suffix}")
        content = path.read_bytes()
        path.unlink()
        return content

    def check_layout(self, width: int) -> None:
        """Nothing is wider than the screen, no text is cut, no picture is broken."""
        assert self.driver.execute_script("return document.documentElement.scrollWidth") <= width
        assert self.driver.execute_script(_CUT_OFF) == []
        broken = "return [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.alt)"
        assert self.driver.execute_script(broken) == []

    def shoot(self, folder: str | None, name: str) -> None:
        """Keep a picture of the whole page, if a folder is given."""
        if not folder:
            return
        time.sleep(0.5)  # for the picture only: animations end
        size = "return [innerWidth, Math.min(document.documentElement.scrollHeight, 4000)]"
        width, height = self.driver.execute_script(size)
        area = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        shot = self.driver.execute_cdp_cmd(
            "Page.captureScreenshot", {"captureBeyondViewport": True, "clip": area}
        )
        (Path(folder) / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))
