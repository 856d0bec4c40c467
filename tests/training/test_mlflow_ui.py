"""The tracking UI as a person sees it: a real server, a real browser."""

import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import mlflow
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("chromedriver"), reason="needs chromium and chromium-driver"),
]


@pytest.fixture(scope="module")
def tracked(tmp_path_factory, phantoms, train) -> str:
    """The store of one finished run."""
    folder = tmp_path_factory.mktemp("ui")
    uri = f"sqlite:///{folder / 'mlruns.db'}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        train(folder / "run", phantoms, max_epochs=3, run_name="first-run")
    return uri


@pytest.fixture(scope="module")
def server(tracked):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", tracked]
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(f"http://127.0.0.1:{port}/health", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=60)


def _wait_for(url: str, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5)
        except OSError:
            time.sleep(0.5)
        else:
            return
    pytest.fail("the MLflow server did not answer")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    for flag in (
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        f"--user-data-dir={tmp_path_factory.mktemp('chromium')}",
        "--window-size=1280,1400",
    ):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options)
    yield driver
    driver.quit()


def _see(browser, *texts: str) -> str:
    def shown(_):
        text = browser.find_element(By.TAG_NAME, "body").text
        return text if all(wanted in text for wanted in texts) else False

    return WebDriverWait(browser, 90).until(shown, message=f"the page never showed {texts}")


@pytest.mark.slow
def test_a_person_finds_the_run_its_curves_and_its_pictures(tracked, server, browser, request):
    uri = tracked
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("covid_cxr_classification")
    run = client.search_runs([experiment.experiment_id])[0]
    page = f"{server}/#/experiments/{experiment.experiment_id}/runs/{run.info.run_id}"
    shots = request.config.getoption("--screenshots")

    browser.get(page)
    text = _see(browser, "first-run", "network_name", "val/auroc", "not a medical device")
    assert "resnet10" in text
    assert "Finished" in text
    _shoot(browser, shots, "overview")

    browser.get(f"{page}/model-metrics")
    _see(browser, "images_per_second", "learning_rate")  # the section "train" comes first
    _shoot(browser, shots, "curves")

    browser.get(f"{page}/artifacts/figures/validation_roc.png")
    _see(browser, "validation_confusion_matrix.png", "environment.txt")
    _shoot(browser, shots, "pictures")


def _shoot(browser, folder: str | None, name: str) -> None:
    if folder:
        time.sleep(3)  # charts draw themselves after their text
        browser.save_screenshot(str(Path(folder) / f"mlflow-{name}.png"))
