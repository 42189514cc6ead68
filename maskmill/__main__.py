"""`python -m maskmill`, and what the console script calls."""


def main() -> None:
    """Run a command; nothing else is imported before the user's folders have left the path."""
    from maskmill.search_path import clean_search_path

    clean_search_path()
    try:
        from maskmill.jobs.cli import run_command
    except ModuleNotFoundError as error:
        if error.name != "maskmill.jobs":
            raise
        raise SystemExit(
            "maskmill: this folder holds a part of maskmill only, and none is installed: "
            "install it, from a checkout with pip install -e ."
        ) from None
    run_command()


if __name__ == "__main__":
    main()
