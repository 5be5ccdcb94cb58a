"""What the data is and where it lies. Usable alone by analysts.

import catalog
lake = catalog.connect("data/lake")
lake.sql("SELECT title, tempo_bpm FROM tracks ORDER BY tempo_bpm").df()
catalog.find_patterns("data/lake", pattern_id="…", tempo=(80, 140))
"""

from catalog.connection import connect
from catalog.errors import CatalogError
from catalog.lake import Lake
from catalog.search import find_patterns

__all__ = ["CatalogError", "Lake", "connect", "find_patterns"]
