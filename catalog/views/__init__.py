"""The questions worth a name: one SELECT a file, loaded into the lake as views and macros."""
