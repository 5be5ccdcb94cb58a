"""Files that no snapshot of the lake knows: what killed writers and replaced stems leave behind.

Safe beside readers, whichever snapshot they read, and beside writers of tables. Stems are written long before their
rows, so nothing may be ingesting meanwhile; `Lake.repair` sees to both.
"""

from collections.abc import Iterator
from pathlib import Path

import duckdb

STEMS = "stems"


def remove_orphans(folder: Path, connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Remove the files of tables and stems that no snapshot refers to.

    Args:
        folder: The lake's folder.
        connection: The lake, open for writing, with the writer's lock held.

    Returns:
        How many there were of each kind.
    """
    tables = connection.execute("CALL ducklake_delete_orphaned_files('lake', cleanup_all => true)").fetchall()
    stems = list(_find_stems(folder, _known_stems(connection)))
    for path in stems:
        path.unlink(missing_ok=True)
    for parent in sorted({path.parent for path in stems}):
        _remove_empty(parent, folder / STEMS)
    return {"table files": len(tables), "stem files": len(stems)}


def _known_stems(connection: duckdb.DuckDBPyConnection) -> set[str]:
    """The places of stems in every snapshot that is kept."""
    oldest, newest = connection.execute("SELECT min(snapshot_id), max(snapshot_id) FROM lake.snapshots()").fetchone()
    rows = connection.execute(
        """
        SELECT uri FROM stems
        UNION SELECT uri FROM ducklake_table_insertions('lake', 'main', 'stems', $oldest, $newest)
        UNION SELECT uri FROM ducklake_table_deletions('lake', 'main', 'stems', $oldest, $newest)
        """,
        {"oldest": oldest, "newest": newest},
    )
    return {uri for (uri,) in rows.fetchall()}


def _find_stems(folder: Path, known: set[str]) -> Iterator[Path]:
    for path in (folder / STEMS).rglob("*"):
        if path.is_file() and path.relative_to(folder).as_posix() not in known:
            yield path


def _remove_empty(folder: Path, top: Path) -> None:
    while folder != top and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
