"""Floor 0: what jobs are and what happens to them. Pure: no I/O, no clock, no global randomness."""
