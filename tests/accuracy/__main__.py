"""`make scores`: every accuracy figure over the evaluation sets, as JSON; a part of it by naming parts."""

import importlib
import json
import shutil
import sys
from pathlib import Path

PARTS = (
    "rhythm",
    "drums",
    "key_sections",
    "stems",
    "broken",
    "vectors",
    "basslines",
    "duplicates",
    "grooves_recordings",
)

FROM_PERFORMANCES = ("vectors", "basslines")  # measured on the drummers beside the evaluation sets


def main(eval_path: Path, parts: tuple[str, ...]) -> None:
    if not eval_path.is_dir():
        sys.exit(f"There are no evaluation sets in {eval_path}: name their folder with MIDIME_EVAL.")
    for part in parts:
        source = eval_path.parent / "train" if part in FROM_PERFORMANCES else eval_path
        figures = measure(part, source)
        print(json.dumps({part: figures}, indent=1, default=str), flush=True)


def measure(part: str, source: Path) -> dict:
    """The figures of a part; where it needs programs or files that are not here, which those are."""
    module = importlib.import_module(f"tests.accuracy.{part}")
    missing = [str(need) for need in getattr(module, "NEEDS", ()) if not (shutil.which(need) or Path(need).is_file())]
    if missing:
        return {"not measured": f"This machine lacks {' and '.join(missing)}."}
    return module.run(source)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), tuple(sys.argv[2:]) or PARTS)
