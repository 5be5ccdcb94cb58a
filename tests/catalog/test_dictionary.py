"""The data dictionary: everything is explained, and what is printed is what is declared."""

from pathlib import Path

import catalog
from catalog.dictionary import MEANINGS, describe_views, write_dictionary
from catalog.views import load_questions


def test_every_column_of_every_view_is_explained():
    views = describe_views()
    assert set(views) == set(load_questions())
    assert all(meaning.endswith(".") for columns in views.values() for *_, meaning in columns)


def test_nothing_is_explained_that_is_not_there():
    views = describe_views()
    names = {column for columns in views.values() for column, *_ in columns}
    full = {f"{view}.{column}" for view, columns in views.items() for column, *_ in columns}
    assert set(MEANINGS) <= names | full


def test_the_dictionary_is_up_to_date():
    written = (Path(catalog.__file__).parent / "dictionary.md").read_text(encoding="utf-8")
    assert written == write_dictionary(), "make dictionary"
