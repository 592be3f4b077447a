"""The steps that bring a schema up to date, in order."""
