"""Documents for people: Markdown and self-contained HTML pages, from templates in files."""
