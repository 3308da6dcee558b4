"""A command and its person: parsing, signals, words on the terminal."""
