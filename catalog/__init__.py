"""What the data is and where it lies. Usable alone: `catalog.connect()` opens the lake read-only in DuckDB."""
