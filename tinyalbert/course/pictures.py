"""Figures for the notebooks: the colours of the reports, and a description for who cannot see them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..report.figures import BLUE, GREEN, INK, MUTED, ORANGE, SKY, new_figure, to_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["BLUE", "GREEN", "INK", "MUTED", "ORANGE", "SKY", "Picture", "heatmap", "new_figure",
           "picture"]


class Picture:
    """A figure as a notebook shows it: a PNG with an alternative text."""

    def __init__(self, png: bytes, alt: str) -> None:
        self.png, self.alt = png, alt

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict, dict]:
        return ({"image/png": self.png, "text/plain": self.alt},
                {"image/png": {"alt": self.alt}})

    def __repr__(self) -> str:
        return self.alt


def picture(figure: Figure, alt: str, dpi: int = 110) -> Picture:
    """The last line of a cell that draws. alt: what is to be seen, in a sentence or two."""
    return Picture(to_png(figure, dpi), alt)


def heatmap(axes: Axes, values: np.ndarray, rows: list[str] | None = None,
            columns: list[str] | None = None, title: str = "", *, diverging: bool = False) -> Any:
    """A matrix as colours: from white, or from both sides of it where the sign matters."""
    largest = float(np.abs(values).max(initial=0)) or 1.0
    image = axes.imshow(values, cmap="RdBu_r" if diverging else "Blues",
                        vmin=-largest if diverging else 0, vmax=largest)
    axes.set_title(title, fontsize=10, color=INK)
    for set_ticks, labels in ((axes.set_yticks, rows), (axes.set_xticks, columns)):
        set_ticks(range(len(labels)) if labels else [], labels or [])
    axes.tick_params(length=0, labelsize=8)
    if columns and max(map(len, columns)) > 2:
        axes.tick_params(axis="x", rotation=90)
    return image
