"""What the pages of all trainings are built of."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from ..files import write_atomically
from . import figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_page(run: Path, title: str, body: Sequence[str]) -> Path:
    """RUN/report.html, in one step."""
    page = Template(Path(__file__).with_name("page.html").read_text("utf-8")).substitute(
        title=escape(title), body="\n".join(body))
    write_atomically(run / "report.html", page.encode())
    return run / "report.html"


def table(rows: Sequence[Sequence[str]], total_from: int | None = None) -> str:
    """The first row is the heading; columns of numbers are flush right, rows from number
    total_from on bold."""
    if len(rows) < 2:
        return ""
    is_number = [all(re.fullmatch(r"[-\d.,]*%?", cell) for cell in column[1:])
                 for column in zip(*rows, strict=True)]
    lines = []
    for place, row in enumerate(rows):
        tag = "td" if place else "th"
        cells = (f"<{tag}{' class=number' * number}>{escape(cell)}</{tag}>"
                 for cell, number in zip(row, is_number, strict=True))
        total = " class=total" if total_from is not None and place >= total_from else ""
        lines.append(f"<tr{total}>{''.join(cells)}</tr>")
    return f"<div class=scroll><table>{''.join(lines)}</table></div>"


def picture(run: Path, name: str, figure: Figure, caption: str) -> str:
    """Save RUN/figures/<name>.png; the same picture as HTML. One wider than the
    page scrolls, a small one stays small."""
    png = figures.to_png(figure)
    write_atomically(run / "figures" / f"{name}.png", png)
    width = figure.get_figwidth() * 96                          # CSS pixels
    size = "100%" if 700 < width < 1300 else f"{width:.0f}px"
    source = base64.b64encode(png).decode()
    return (f'<figure><div><img style="width:{size}" alt="{escape(caption)}" '
            f'src="data:image/png;base64,{source}"></div><figcaption>{escape(caption)}'
            "</figcaption></figure>")
