"""Tags where photos live: sidecars, files of other tools, and what differs between two runs."""
