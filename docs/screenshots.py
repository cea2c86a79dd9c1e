"""`make screenshots`: pictures of the running demo for the README, taken by a headless Chromium.

Needs Debian's packages `chromium` and `chromium-driver`, and `selenium`; says so when they are missing.
"""

import shutil
import sys
import tempfile
import time
from pathlib import Path

from airloom.errors import AirloomError
from airloom.settings import load
from airloom.stack.airflow_api import AirflowApi

PICTURES = Path(__file__).resolve().parent / "pictures"
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync")


def main() -> int:
    """Take the pictures; 1 with a reason when that cannot be."""
    try:
        from selenium import webdriver
    except ImportError:
        return _stop("selenium is missing: .venv/bin/python -m pip install selenium")
    if not shutil.which("chromium") or not shutil.which("chromedriver"):
        return _stop("chromium is missing: apt-get install --no-install-recommends chromium chromium-driver")
    settings = load()
    if not settings.stack:
        return _stop("no demo runs here: `make demo` first")
    with tempfile.TemporaryDirectory() as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium")
        for flag in (*FLAGS, f"--user-data-dir={profile}", "--window-size=1400,900"):
            options.add_argument(flag)
        driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
        try:
            _airflow(driver, settings)
            _mlflow(driver, settings)
        finally:
            driver.quit()
    return 0


def _airflow(driver, settings) -> None:
    url = settings.stack["airflow_url"]
    with AirflowApi(settings) as api:
        token = api._client.headers["Authorization"].removeprefix("Bearer ")
    driver.get(f"{url}/api/v2/version")  # a cookie needs a page of the same origin
    driver.add_cookie({"name": "_token", "value": token})
    _take(driver, f"{url}/dags/digits", "airflow-grid.png")


def _mlflow(driver, settings) -> None:
    from airloom.tracking import runs

    experiment = runs.client(settings).get_experiment_by_name("airloom/digits")
    if experiment is None:
        raise AirloomError("MLflow has no experiment airloom/digits", "`make demo` first")
    url = settings.stack["mlflow_url"]
    if settings.mlflow_credentials:
        user, password = settings.mlflow_credentials
        driver.get(url.replace("//", f"//{user}:{password}@"))  # the browser keeps it for this origin
    _take(driver, f"{url}/#/experiments/{experiment.experiment_id}/runs", "mlflow-runs.png")


def _take(driver, url: str, name: str) -> None:
    driver.get(url)
    time.sleep(8)  # both pages load their rows after they are loaded themselves
    PICTURES.mkdir(exist_ok=True)
    driver.save_screenshot(str(PICTURES / name))
    print(f"docs/pictures/{name}")


def _stop(reason: str) -> int:
    print(reason, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
