"""``python -m taistore_cli``: the command line without its installed script."""

from taistore_cli.main import main

main(prog_name="taistore")
