"""The named statements, one file per group of tables; the same names as for SQLite, in the same order."""
