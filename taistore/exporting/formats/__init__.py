"""Files and folders that other tools import, a module each."""
