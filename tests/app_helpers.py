"""The page on a real server, and a real browser that visits it."""

import base64
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from selenium import webdriver
from selenium.common.exceptions import (
    ElementClickInterceptedException,
    StaleElementReferenceException,
    WebDriverException,
)
from selenium.webdriver.common.by import By

from covid_monai.core.vocabulary import RESEARCH_USE

SECONDS = 60  # until anything must have happened
_NOT_DONE = (StaleElementReferenceException, ElementClickInterceptedException)
_GREY = """
    const stage = document.querySelector('.stage canvas');
    const picture = stage.getContext('2d').getImageData(0, 0, stage.width, stage.height);
    return [...picture.data].filter((_, i) => i % 4 == 0)"""
_CUT_OFF = """
    return [...document.querySelectorAll('p, li, h1, h2, h3, figure, dd, .card, .outcome, button, label')]
    .filter(e => e.offsetParent && !e.closest('.q-table__middle, .scrolls, pre, .q-tabs'))
    .filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 120))"""


class Server:
    """`covid-monai app` as a process of its own."""

    def __init__(self, folder: Path, *arguments: object) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "app.log"
        command = [sys.executable, "-m", "covid_monai", "app", "--port", self.port, *arguments]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "TMPDIR": str(folder / "tmp")}
        (folder / "tmp").mkdir()
        self.temporary = folder / "tmp"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(list(map(str, command)), stderr=log, stdout=log, env=environment)
        try:
            until(self._answers, "the page answers", ignored=OSError)
        except BaseException:
            self.stop()
            raise

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        with urllib.request.urlopen(f"{self.url}/health", timeout=SECONDS) as answer:
            return RESEARCH_USE.encode() in answer.read()

    def upload_path(self) -> str:
        """Path of the drop zone of a new visitor."""
        with urllib.request.urlopen(self.url, timeout=SECONDS) as answer:
            return re.search(r"/_covid_monai/[0-9a-f-]{36}/\d+", answer.read().decode())[0]

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()


class Page:
    """A browser that looks at the page, and the few things that a person does there."""

    def __init__(self, profile: Path, downloads: Path) -> None:
        options = webdriver.ChromeOptions()
        for flag in (
            *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            # A name that leads to this machine although it is not its own; and our own proxy with TLS.
            *("--host-resolver-rules=MAP *.example 127.0.0.1", "--ignore-certificate-errors"),
            f"--user-data-dir={profile}",
        ):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options)
        self.downloads = downloads
        behaviour = {"behavior": "allow", "downloadPath": str(downloads)}
        self.driver.execute_cdp_cmd("Browser.setDownloadBehavior", behaviour)
        self.width = 1280

    def screen(self, width: int, *, dark: bool = False) -> None:
        self.width = width
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def open(self, url: str) -> None:
        self.driver.get(url)
        self.wait_for(".dropzone")

    def all(self, selector: str):
        def there():  # a tuple is true, with an empty list too
            return ([e for e in self.driver.find_elements(By.CSS_SELECTOR, selector) if e.is_displayed()],)

        return until(there, f"{selector} that stay")[0]

    def texts(self, selector: str) -> list[str]:
        """What all visible elements that fit say, at one moment."""
        script = """return [...document.querySelectorAll(arguments[0])]
            .filter(e => e.offsetParent).map(e => e.innerText)"""
        return self.driver.execute_script(script, selector)

    def wait_for(self, selector: str, text: str = ""):
        def there():
            return next((e for e in self.all(selector) if text in e.text), None)

        return until(there, f"{selector} with {text!r}")

    def wait_until_gone(self, selector: str) -> None:
        until(lambda: not self.all(selector), f"no {selector}")

    def text(self, selector: str, having: str = "") -> str:
        """What the first visible element that fits and says `having` says, at one moment."""
        return until(
            lambda: next((text for text in self.texts(selector) if having in text), None),
            f"{selector} that says {having!r}",
        )

    def click(self, selector: str, text: str = "") -> None:
        def clicked():
            element = self.wait_for(selector, text)
            self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
            element.click()
            return True

        # The page may put another element in its place at any moment: then nothing has been clicked.
        until(clicked, f"a click on {selector} with {text!r}", ignored=_NOT_DONE)

    def type(self, selector: str, *keys: str) -> None:
        def typed():
            self.wait_for(selector).send_keys(*keys)
            return True

        until(typed, f"keys into {selector}", ignored=_NOT_DONE)

    def upload(self, *files: Path) -> None:
        if not self.all(".dropzone"):
            self.click(".sources .q-item", "Add images")
        self.wait_for(".dropzone")

        def chosen():
            field = self.driver.find_element(By.CSS_SELECTOR, ".dropzone .dropzone-input")
            field.send_keys("\n".join(map(str, files)))
            return True

        until(chosen, "files into the drop zone", ignored=_NOT_DONE)

    def slide(self, name: str, value: float) -> None:
        self.driver.execute_script(
            "const slider = document.querySelector(`input[name=${arguments[0]}]`);"
            "slider.value = arguments[1]; slider.dispatchEvent(new Event('input', {bubbles: true}));",
            *(name, value),
        )

    def choose(self, selector: str, option: str) -> None:
        self.click(selector)
        self.click(".q-menu .q-item", option)

    def choose_labelled(self, label: str, option: str) -> None:
        self.choose(f".q-select:has([aria-label='{label}'])", option)
        self.wait_until_gone(".q-menu")

    def open_tab(self, name: str) -> None:
        self.click(".q-tab", name)
        self.wait_for(".q-tab--active", name)

    def grey(self) -> np.ndarray:
        """Grey levels that the viewer displays, of an image of 512 x 512 pixels."""
        return np.array(self.driver.execute_script(_GREY)).reshape(512, 512)

    def downloaded(self, suffix: str) -> Path:
        def there():
            return next(
                (p for p in self.downloads.iterdir() if p.suffix == suffix and p.stat().st_size), None
            )

        return until(there, f"a downloaded {suffix}")

    def fits(self) -> bool:
        return self.driver.execute_script("return document.documentElement.scrollWidth") <= self.width

    def cut_off(self) -> list[str]:
        """Words and boxes that reach over the edge and cannot be scrolled to."""
        return self.driver.execute_script(_CUT_OFF)

    def screenshot(self, path: Path) -> None:
        self.driver.execute_script("scrollTo(0, 0)")
        height = self.driver.execute_script("return document.documentElement.scrollHeight")
        area = {"x": 0, "y": 0, "width": self.width, "height": height, "scale": 1}
        wanted = {"captureBeyondViewport": True, "clip": area}
        shot = self.driver.execute_cdp_cmd("Page.captureScreenshot", wanted)
        path.write_bytes(base64.b64decode(shot["data"]))


def until(condition, what: str, *, seconds: float = SECONDS, ignored=WebDriverException):
    """Poll; what the condition gives once it is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if found := condition():
                return found
        except ignored:
            pass
        time.sleep(0.1)
    return pytest.fail(f"waited {seconds} s in vain for: {what}")


def browser_test(test):
    """Mark a test that visits the page in a browser."""
    has_browser = shutil.which("chromedriver")
    needed = pytest.mark.skipif(not has_browser, reason="needs chromium and chromium-driver")
    return pytest.mark.slow(needed(test))


def percentage(text: str) -> float:
    """Number in a text: 97.3 of `97.3 %`, `> 97.3 %` and `+97.3 points`."""
    return float(re.search(r"[-+]?[\d.]+", text)[0])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
