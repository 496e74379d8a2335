"""The commands, one a file. `protogw.cli` imports each only when it is run."""
