"""Turn a title, a style sheet and a body into a page that needs nothing from anywhere else."""

from collections.abc import Iterable
from html import escape


def offline_page(title: str, style: str, body: Iterable[str]) -> str:
    """Return a whole document, well-formed XML too, in which no script and no address can work.

    `style` and `body` are taken as they are: who writes them escapes what others said.
    """
    return "\n".join(
        (
            "<!DOCTYPE html>",
            '<html lang="en" xmlns="http://www.w3.org/1999/xhtml">',
            "<head>",
            '<meta charset="utf-8"/>',
            '<meta name="viewport" content="width=device-width, initial-scale=1"/>',
            (
                '<meta http-equiv="Content-Security-Policy" '
                "content=\"default-src 'none'; style-src 'unsafe-inline'\"/>"
            ),
            '<meta name="color-scheme" content="light dark"/>',
            f"<title>{escape(title)}</title>",
            f"<style>{style}</style>",
            "</head>",
            "<body>",
            "<main>",
            *body,
            "</main>",
            "</body>",
            "</html>",
            "",
        )
    )
