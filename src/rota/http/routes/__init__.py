"""The routes of `/v1` and of what stands beside it: one function an operation, one table a module."""
