"""From settings to a module on a device."""
