"""The pictures of a fine-tuning; colours and manners are those of figures.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .figures import BLUE, INK, MUTED, SKY, draw, level, new_figure, series, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def curves(metrics: Sequence[dict[str, Any]], metric: str, baseline: float | None) -> Figure:
    """Loss and the metric over updates, with what knows nothing."""
    figure = new_figure(8, 3.4)
    loss, quality = figure.subplots(1, 2)
    style(loss, "loss", "nats")
    draw(loss, series(metrics, "train", "loss"), color=SKY, linewidth=1, label="training")
    draw(loss, series(metrics, "eval", "loss"), color=BLUE, linewidth=1.8, marker="o",
         markersize=3.5, label="dev")
    style(quality, f"{metric} on dev")
    draw(quality, series(metrics, "eval", metric), color=BLUE, linewidth=1.8, marker="o",
         markersize=3.5)
    if baseline is not None:
        level(quality, baseline, "baseline")
    for ax in (loss, quality):
        ax.set_xlabel("update", color=MUTED, fontsize=9)
        ax.set_xlim(left=0)
        ax.locator_params(axis="x", integer=True)
    loss.set_ylim(bottom=0)
    if loss.get_legend_handles_labels()[0]:
        loss.legend(facecolor="white", edgecolor="none", fontsize=9, labelcolor=INK)
    return figure


def confusion_matrix(labels: Sequence[str], counts: np.ndarray) -> Figure:
    """counts [K, K]: how many with the label of the row got that of the column. The colour is the
    share of the row."""
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size = min(1.6 + 0.62 * len(labels), 9)
    figure = new_figure(size + 1.2, size)
    ax = figure.subplots()
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    small = 9 if len(labels) < 12 else 6
    ax.set_xticks(range(len(labels)), labels, rotation=90 if len(labels) > 4 else 0,
                  fontsize=small, parse_math=False)
    ax.set_yticks(range(len(labels)), labels, fontsize=small, parse_math=False)
    ax.tick_params(length=0, labelcolor=INK)
    ax.spines[:].set_visible(False)
    ax.set_xlabel("predicted", color=MUTED, fontsize=9)
    ax.set_ylabel("label", color=MUTED, fontsize=9)
    for (row, column), count in np.ndenumerate(counts) if len(labels) < 25 else ():
        ax.text(column, row, f"{count:,}", ha="center", va="center", fontsize=small,
                color="white" if shares[row, column] > 0.55 else INK)
    return figure


def scatter(targets: Sequence[float], predicted: Sequence[float]) -> Figure:
    """Numbers as they are and as they were predicted."""
    figure = new_figure(5, 4.6)
    ax = figure.subplots()
    style(ax, "predicted, over the number itself")
    ax.plot(targets, predicted, ".", color=BLUE, alpha=0.4, markersize=4)
    ends = [min(targets), max(targets)]
    ax.plot(ends, ends, color=MUTED, linewidth=1)
    return figure
