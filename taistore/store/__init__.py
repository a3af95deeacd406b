"""The embedding store: the only code that talks to LanceDB."""
