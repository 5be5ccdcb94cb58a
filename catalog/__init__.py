"""What the data is and where it lies. Usable alone by analysts.

import catalog
lake = catalog.connect("data/lake")
lake.sql("SELECT title, tempo_bpm FROM tracks ORDER BY tempo_bpm").df()
"""

from catalog.errors import CatalogError
from catalog.lake import Lake, connect

__all__ = ["CatalogError", "Lake", "connect"]
