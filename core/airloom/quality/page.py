"""Parts of a page that is readable without any network."""

import base64
import html


def table(head: list[str], rows: list[list[str]]) -> str:
    """Cells of text, escaped.

    Args:
        head: of the columns; all empty: without a head.
        rows: the cells.
    """
    title = f"<tr>{''.join(f'<th>{html.escape(name)}' for name in head)}" if any(head) else ""
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}' for cell in row)}" for row in rows)
    return f"<table>{title}{body}</table>"


def image(data: bytes, says: str) -> str:
    """A PNG inside the page.

    Args:
        data: of the file.
        says: what is to be seen.
    """
    return f"<img alt='{html.escape(says, quote=True)}' src='data:image/png;base64,{base64.b64encode(data).decode()}'>"
