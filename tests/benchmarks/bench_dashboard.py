"""How long the page of a month of nights takes to build and to draw, and what it weighs; in seconds and megabytes.

Drawing is timed in Chromium, from asking for the file until every chart is there; None where there is no Chromium.
"""

import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from playwright.sync_api import sync_playwright

from catalog.dashboard.page import build_page
from catalog.dashboard.panels import read_panels
from catalog.lake import Lake
from tests.catalog.dashboard.test_browser import BROWSER, FLAGS
from tests.nights import write_month

ROUNDS = 5


def run() -> dict:
    with tempfile.TemporaryDirectory() as folder:
        with Lake.open(Path(folder) / "lake") as lake:
            write_month(lake, datetime.now(UTC))
            build_s = []
            for _ in range(ROUNDS):
                started = time.perf_counter()
                page = build_page(read_panels(lake.connection), "lake")
                build_s.append(time.perf_counter() - started)
        path = Path(folder) / "dashboard.html"
        path.write_text(page, encoding="utf-8")
        return {
            "runs": 95,
            "build_s": round(statistics.median(build_s), 2),
            "draw_s": _time_drawing(path.as_uri()) if BROWSER else None,
            "page_mb": round(path.stat().st_size / 1e6, 2),
        }


def _time_drawing(address: str) -> float:
    draw_s = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        for _ in range(ROUNDS):
            page = browser.new_page()
            started = time.perf_counter()
            page.goto(address)
            page.wait_for_selector("html[data-ready]")
            draw_s.append(time.perf_counter() - started)
            page.close()
        browser.close()
    return round(statistics.median(draw_s), 2)
