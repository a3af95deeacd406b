"""What stands behind the methods of a project that do more than call one function."""
