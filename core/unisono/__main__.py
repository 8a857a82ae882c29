"""`python -m unisono`."""

from .cli import main

main(prog_name="unisono")
