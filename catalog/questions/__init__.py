"""Ten worked questions: SQL to start from, each with its answer on the sample corpus in README.md (make questions)."""

from datetime import UTC, datetime
from pathlib import Path

import duckdb

from catalog.connection import read_arrow

FOLDER = Path(__file__).parent
MOST_ROWS = 8


def load_worked_questions() -> dict[str, str]:
    """The SQL of each question by its name."""
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.sql"))}


def write_answers(connection: duckdb.DuckDBPyConnection) -> str:
    """The questions with their answers as Markdown."""
    head = (
        "# Ten questions to start from\n\nEach is a file beside this page. Run one with"
        ' `midime sql "$(cat catalog/questions/tempo_by_genre.sql)"`, or change it. The answers are those of the sample'
        f" corpus after `make demo` on {datetime.now(UTC):%-d %B %Y}; `make questions` writes them anew.\n"
    )
    parts = []
    for name, sql in load_worked_questions().items():
        question = sql.split("\n", 1)[0].lstrip("- ")
        parts.append(f"## {question}\n\n[{name}.sql]({name}.sql)\n\n{_write_table(read_arrow(connection, sql))}")
    return "\n".join([head, *parts])


def _write_table(answer) -> str:
    rows = [[_write(value) for value in row.values()] for row in answer.slice(0, MOST_ROWS).to_pylist()]
    lines = [answer.column_names, ["---"] * answer.num_columns, *rows]
    left = answer.num_rows - len(rows)
    more = f"\n{left} more rows.\n" if left else "" if rows else "\nNone in the sample corpus.\n"
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n" + more


def _write(value: object) -> str:
    if value is None:
        return ""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", "<br>")
