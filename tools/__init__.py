"""The shell: one command per module; ``tools.jobs`` does their work, ``tools.engine`` is shared."""
