"""Before training: download, check, proposals."""
