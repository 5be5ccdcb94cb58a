"""The questions worth a name. Each .sql file holds one statement that creates a view or macro of the file's name; its
first line is a comment with the question. They are kept in the lake, so that every client that attaches it has them."""

from functools import cache
from pathlib import Path


@cache
def load_views() -> tuple[str, ...]:
    """The statements, in the order of their file names."""
    return tuple(path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.glob("*.sql")))
