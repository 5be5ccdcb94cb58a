"""`make bench`: every benchmark, as JSON; a part of them by naming parts. Compare ratios, not seconds."""

import importlib
import json
import sys

PARTS = ("ingest", "analyze", "separation", "rhythm", "drums", "duplicates", "search", "dashboard")

if __name__ == "__main__":
    for part in tuple(sys.argv[1:]) or PARTS:
        figures = importlib.import_module(f"tests.benchmarks.bench_{part}").run()
        print(json.dumps({part: figures}, indent=1, default=str), flush=True)
