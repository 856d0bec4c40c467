"""`make pictures`: take the pictures docs/images/*.png of the real programs, with phantoms only.

The script draws phantoms, trains on them for a few epochs, and evaluates. Then it photographs the report, the
MLflow UI and the page in the browser with headless Chromium (Debian: chromium, chromium-driver). Its files
stay in build/pictures, so that a second call only takes the pictures again.
"""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.ui import WebDriverWait

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "build" / "pictures"
IMAGES = ROOT / "docs" / "images"
BUNDLE = "bundles/covid_cxr_classification"
WIDTH, HEIGHT = 1280, 1200
MAX_BYTES = 300_000
RUN_NAME = "phantoms"


def main() -> None:
    """Take the pictures named on the command line, or all."""
    ways = {"report": photograph_report, "mlflow": photograph_mlflow, "app": photograph_app}
    wanted = sys.argv[1:] or list(ways)
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{WORK / 'mlruns.db'}"
    make_run()
    with browser() as driver:
        for name in wanted:
            ways[name](driver)


def make_run() -> None:
    """Make phantoms, a run and its report, unless they exist."""
    WORK.mkdir(parents=True, exist_ok=True)
    phantoms, run = WORK / "images", WORK / RUN_NAME
    datalist = ["--datalist", str(phantoms / "datalist.json")]
    if not phantoms.exists():
        call("covid_monai", "data", "phantom", str(phantoms), "--patients", "300", "--size", "320", "--no-ct")
    if not (run / "models" / "calibration.json").exists():
        configs = f"['{BUNDLE}/configs/train.yaml','configs/experiments/demo.yaml']"
        settings = ["--output_dir", str(run), "--cache_dir", str(WORK / "cache"), "--max_epochs", "24"]
        settings += ["--run_name", RUN_NAME]
        call("monai.bundle", "run", "training", "--config_file", configs, *datalist, *settings)
    if not (run / "evaluation" / "report.html").exists():
        call("covid_monai", "evaluate", "--bundle", str(run), *datalist, "--output", str(run / "evaluation"))


def call(module: str, *arguments: str) -> None:
    """Run a program of the package, and wait for its end."""
    subprocess.run([sys.executable, "-m", module, *arguments], cwd=ROOT, check=True)  # noqa: S603


@contextlib.contextmanager
def browser() -> Iterator[WebDriver]:
    """Start headless Chromium."""
    options = webdriver.ChromeOptions()
    for flag in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--hide-scrollbars",
    ):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options)
    try:
        screen = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        yield driver
    finally:
        driver.quit()


@contextlib.contextmanager
def server(*command: str) -> Iterator[str]:
    """Start a server on a free port, where `PORT` in the command stands; give its address when it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    words = [sys.executable, "-m", *(word.replace("PORT", port) for word in command)]
    process = subprocess.Popen(words, cwd=WORK, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 180
        while not _answers(address):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(
                    f"The server does not answer: {' '.join(words)}. Start it by hand to see why."
                )
            time.sleep(0.5)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=60)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5):  # noqa: S310  # our own, above
            return True
    except OSError:
        return False


def photograph_report(driver: WebDriver) -> None:
    """Photograph the first page of the evaluation report."""
    driver.get((WORK / RUN_NAME / "evaluation" / "report.html").as_uri())
    save(driver, "report")


def photograph_mlflow(driver: WebDriver) -> None:
    """Photograph the curves of the run."""
    import mlflow

    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("covid_cxr_classification")
    run = client.search_runs([experiment.experiment_id], f"run_name = '{RUN_NAME}'")[0]
    store = ["--backend-store-uri", os.environ["MLFLOW_TRACKING_URI"]]
    with server(
        "mlflow", "server", *store, "--host", "127.0.0.1", "--port", "PORT", "--workers", "1"
    ) as place:
        driver.get(f"{place}/#/experiments/{experiment.experiment_id}/runs/{run.info.run_id}/model-metrics")
        wait_for_texts(driver, "images_per_second", "learning_rate")
        for button in driver.find_elements(By.CSS_SELECTOR, "[aria-label='Close']"):  # the assistant's pane
            button.click()
        search = driver.find_element(By.CSS_SELECTOR, "input[placeholder='Search metric charts']")
        search.send_keys("val/")
        save(driver, "mlflow", settle=5)  # the curves appear after their titles


def photograph_app(driver: WebDriver) -> None:
    """Photograph the page with a phantom."""
    image = min((WORK / "images" / "images").glob("*.dcm"))
    with server("covid_monai", "app", "--bundle", str(WORK / RUN_NAME), "--port", "PORT") as place:
        driver.get(place)
        for selector in ("input[type=file]", ".outcome-large", ".viewer[data-drawn=yes]", ".stage .heat"):
            found = WebDriverWait(driver, 120).until(
                lambda _, wanted=selector: driver.find_elements(By.CSS_SELECTOR, wanted)
            )
            if selector.startswith("input"):
                found[0].send_keys(str(image))
        save(driver, "app", settle=5)  # the heat map appears after the class


def wait_for_texts(driver: WebDriver, *texts: str) -> None:
    """Wait until the page shows all of the texts."""

    def shown(_: WebDriver) -> bool:
        text = driver.find_element(By.TAG_NAME, "body").text.lower()
        return all(wanted.lower() in text for wanted in texts)

    WebDriverWait(driver, 120).until(shown, message=f"The page did not show {texts} within 120 s.")


def save(driver: WebDriver, name: str, *, settle: float = 0) -> None:
    """Write the picture; a picture that would be too large gets a palette."""
    time.sleep(settle)
    picture = Image.open(BytesIO(driver.get_screenshot_as_png())).convert("RGB")
    path = IMAGES / f"{name}.png"
    picture.save(path, optimize=True)
    if path.stat().st_size > MAX_BYTES:
        picture.quantize(256).save(path, optimize=True)
    if path.stat().st_size > MAX_BYTES:
        raise RuntimeError(f"{path} has {path.stat().st_size:,} bytes; the limit is {MAX_BYTES:,}.")
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
