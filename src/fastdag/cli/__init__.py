"""The command `fastdag`."""
