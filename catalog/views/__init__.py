"""The questions worth a name. Each .sql file holds one statement that creates a view or macro of the file's name; its
first line is a comment with the question. They are kept in the lake, so that every client that attaches it has them."""

import re
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path


@cache
def load_views() -> tuple[str, ...]:
    """The statements, each after those that it asks, else in the order of their file names."""
    files = {path.stem: path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.glob("*.sql"))}
    asked = {name: files.keys() & set(re.findall(r"\w+", text)) - {name} for name, text in files.items()}
    return tuple(files[name] for name in TopologicalSorter(asked).static_order())


def load_questions() -> dict[str, str]:
    """The question that each view or macro answers, by its name."""
    heads = {re.search(r"(?:VIEW|MACRO) (\w+)", text)[1]: text.split("\nCREATE", 1)[0] for text in load_views()}
    return {name: " ".join(line.lstrip("- ") for line in head.splitlines()) for name, head in sorted(heads.items())}
