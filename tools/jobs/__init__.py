"""What each command does once its settings are parsed; imported late for a quick ``--help``."""
