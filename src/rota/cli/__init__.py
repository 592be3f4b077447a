"""The commands. Each module holds a few; main.py has the table of them and loads a module only when it is asked for."""
