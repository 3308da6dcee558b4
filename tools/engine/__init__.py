"""What the jobs share: settings, loop, logger, checkpoints, drawing, report."""
