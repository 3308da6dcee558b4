"""visdom's own page: the files it lacks, and a server for it."""
