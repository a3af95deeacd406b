"""The command line of taistore: one file per command, nothing heavy at import."""
