"""What a query finds, as a file of rows, or as a folder of the patterns' MIDI files or previews."""

from functools import partial
from pathlib import Path

import duckdb

from catalog.connection import connect
from catalog.errors import BadQuery, CatalogError
from flows.search import write_midi, write_preview
from flows.settings import Settings

WRITERS = {
    "midi": (write_midi, ".mid"),
    "quantised": (partial(write_midi, quantise=True), ".mid"),
    "previews": (write_preview, ".wav"),
}


def export_query(query: str, output: Path, kind: str, settings: Settings, user_id: str | None = None) -> int:
    """Write the answer to a query; how many rows or files there are.

    Args:
        query: A SELECT; for MIDI and previews it has a column `pattern_id`.
        output: The file, or for MIDI and previews the folder.
        kind: parquet, csv, midi, quantised (MIDI on the sixteenths) or previews.
        settings: Where the lake lies.
        user_id: Whose private patterns may be written beside the public ones.

    Raises:
        BadQuery: DuckDB cannot run it, or it has no column pattern_id where one is needed.
        CatalogError: The output cannot be written, or a pattern has no file to be heard from.
    """
    with connect(settings.lake, settings.catalog) as connection:
        try:
            answer = connection.sql(query)
            if answer is None:
                raise BadQuery("The query gives no rows to export.")
            if kind in WRITERS:
                patterns = _read_patterns(answer)
            elif kind == "parquet":
                answer.write_parquet(str(output))
            else:
                answer.write_csv(str(output), header=True)
        except duckdb.IOException as error:
            raise CatalogError(f"{output} cannot be written: {str(error).splitlines()[0]}") from error
        except duckdb.Error as error:
            raise BadQuery(str(error).strip()) from error
        if kind not in WRITERS:
            return len(answer)
    output.mkdir(parents=True, exist_ok=True)
    write, suffix = WRITERS[kind]
    for pattern in patterns:
        write(pattern, output / f"{pattern}{suffix}", settings, user_id)
    return len(patterns)


def _read_patterns(answer: duckdb.DuckDBPyRelation) -> list[str]:
    if "pattern_id" not in answer.columns:
        raise BadQuery("To export MIDI files or previews, the query needs a column pattern_id.")
    return [str(row[0]) for row in answer.select("pattern_id").distinct().order("pattern_id").fetchall()]
