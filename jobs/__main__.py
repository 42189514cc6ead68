"""`python -m jobs` is `maskmill`."""

from jobs.cli import main

main(prog_name="maskmill")
