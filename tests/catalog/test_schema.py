"""Declarations: one place says what a table is."""

import pytest

from catalog.lake import Lake
from catalog.tables import TABLES, TRACK_TABLES, TRACKS, make_id


def test_an_identifier_is_made_from_content_alone():
    assert make_id("track", "x") == make_id("track", "x") != make_id("section", "x")


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_column_is_explained(table):
    assert all(field.meaning.endswith(".") for field in table.fields)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_the_key_is_made_of_columns(table):
    assert set(table.key) <= set(table.columns)


@pytest.mark.parametrize("table", TRACK_TABLES, ids=lambda table: table.name)
def test_every_row_of_a_track_names_it(table):
    assert {"corpus", "track_id"} <= set(table.columns)


def test_a_column_that_is_not_declared_is_refused():
    with pytest.raises(KeyError, match="nonsense"):
        TRACKS.make_rows([{"nonsense": 1}])


def test_the_lake_carries_the_comments(tmp_path):
    with Lake.open(tmp_path / "lake") as lake:
        found = dict(
            lake.connection.execute(
                "SELECT column_name, comment FROM duckdb_columns()"
                " WHERE database_name = 'lake' AND table_name = 'tracks'"
            ).fetchall()
        )
    assert found == {field.name: field.meaning for field in TRACKS.fields}
