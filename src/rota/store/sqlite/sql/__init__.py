"""The named statements, one file per group of tables."""
