"""How other programs reach the lake: the statement that attaches it, and a shell over DuckDB."""

import code
import shutil
from contextlib import suppress
from pathlib import Path

import duckdb

from catalog.connection import CATALOG_FILE, refuse_password
from catalog.views import load_questions

CONTINUED = "   … "
PROMPT = "lake> "


def attach_statement(lake: str | Path, catalog: str | None = None) -> str:
    """The statements with which any DuckDB client of the same version, with its extension ducklake, reads the lake.

    Args:
        lake: The lake's folder.
        catalog: The catalogue when it is not the folder's own, such as `postgres:dbname=midime host=db`.

    Raises:
        OpenSecret: The catalogue's address holds a password.
    """
    refuse_password(catalog)
    folder = Path(lake).resolve()
    place = (catalog or f"sqlite:{folder / CATALOG_FILE}").replace("'", "''")
    data = str(folder / "tables").replace("'", "''")
    return f"ATTACH 'ducklake:{place}' AS lake (READ_ONLY, DATA_PATH '{data}/', OVERRIDE_DATA_PATH true);\nUSE lake;"


class Shell(code.InteractiveConsole):
    """SQL at a prompt: a statement ends with a semicolon; `views` lists the questions that have a name."""

    def __init__(self, connection: duckdb.DuckDBPyConnection):
        super().__init__()
        self.connection = connection

    def run(self) -> None:
        """Read and answer until the end of the input."""
        import sys

        with suppress(ImportError):
            import readline  # noqa: F401  lines can be edited and called back
        sys.ps1, sys.ps2 = PROMPT, CONTINUED
        self.interact(
            banner="SQL, ended by a semicolon. views lists the questions with a name. Ctrl-D leaves.", exitmsg=""
        )

    def runsource(self, source: str, filename: str = "<shell>", symbol: str = "single") -> bool:
        """Answer a statement that is complete; whether more lines are wanted."""
        statement = source.strip()
        if statement.rstrip(";").strip() in ("exit", "quit"):
            raise SystemExit(0)
        if statement.rstrip(";").strip() == "views":
            self.write("".join(f"{name}: {question}\n" for name, question in load_questions().items()))
            return False
        if statement and not statement.endswith(";"):
            return True
        if statement:
            self._answer(statement)
        return False

    def _answer(self, statement: str) -> None:
        try:
            answer = self.connection.sql(statement)
            if answer is not None:
                answer.show(max_width=shutil.get_terminal_size().columns, max_rows=40)
        except duckdb.Error as error:
            self.write(f"{str(error).strip()}\n")
        except (RuntimeError, KeyboardInterrupt):  # DuckDB makes the first of Ctrl-C
            self.write("Interrupted.\n")
