"""visdom's page: the files that its package lacks, and a server."""
