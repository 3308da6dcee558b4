"""The shell: each module here is a command, each package a room that commands share."""
