"""What the data is and where it lies. Usable alone by analysts.

import catalog
lake = catalog.connect("data/lake")
lake.sql("SELECT title, tempo_bpm FROM tracks ORDER BY tempo_bpm").df()
catalog.find_patterns("data/lake", pattern_id="…", tempo=(80, 140))
"""

from catalog.errors import CatalogError
from catalog.lake import Lake, connect
from catalog.search import find_patterns

__all__ = ["CatalogError", "Lake", "connect", "find_patterns"]
