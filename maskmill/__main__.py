"""`python -m maskmill`, and what the console script calls."""

from maskmill.jobs.cli import main

if __name__ == "__main__":
    main()
