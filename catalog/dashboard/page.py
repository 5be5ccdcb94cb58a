"""One HTML file of the panels, with everything that it needs inside. Nothing in it is fetched from anywhere.

What comes from files and tags reaches the page as JSON and is written as text only; the page's policy lets no other
script run than those that were put into it here.
"""

import base64
import hashlib
import json
import os
from pathlib import Path

import duckdb

from catalog.dashboard.live import read_live

FOLDER = Path(__file__).parent
SCRIPTS = ("vendor/d3.min.js", "vendor/plot.min.js", "tables.js", "charts.js", "page.js")
FILE_NAME = "dashboard.html"


def build_page(panels: dict, name: str) -> str:
    """The page as one HTML document.

    Args:
        panels: The answers of `read_panels`.
        name: What the lake is called on the page.
    """
    scripts = [(FOLDER / script).read_text(encoding="utf-8") for script in SCRIPTS]
    hashes = " ".join(f"'sha256-{_hash(script)}'" for script in scripts)
    parts = {
        "policy": f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; connect-src 'self'",
        "style": (FOLDER / "page.css").read_text(encoding="utf-8"),
        "panels": encode_panels(panels | {"name": name}),
        "scripts": "\n".join(f"<script>{script}</script>" for script in scripts),
    }
    page = (FOLDER / "page.html").read_text(encoding="utf-8")
    for part, text in parts.items():
        page = page.replace("{{" + part + "}}", text, 1)
    return page


def encode_panels(panels: dict) -> str:
    """JSON that cannot end the script element that it stands in."""
    text = json.dumps(panels, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return "".join({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}.get(letter, letter) for letter in text)


def publish_page(connection: duckdb.DuckDBPyConnection, lake: Path) -> Path:
    """Write the page into the lake's folder, in place of the one before; where it lies."""
    path = lake / FILE_NAME
    draft = path.with_name(f".{FILE_NAME}.{os.getpid()}")
    draft.write_text(build_page(read_live(connection, lake), name_lake(lake)), encoding="utf-8", errors="replace")
    draft.replace(path)
    return path


def name_lake(lake: Path) -> str:
    """What a lake is called on its page: the last two parts of its place."""
    return "/".join(lake.resolve().parts[-2:])


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
