"""The tour: example handlers over real input, and the program that shows them at work. `make run` starts it."""
