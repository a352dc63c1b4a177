"""The pictures of a run, as Matplotlib figures. Nothing is computed here but what drawing needs.

Colours are those of Okabe and Ito, which remain distinct under every common colour blindness; the
background is white, so that a figure reads the same on a light page and on a dark one. Pyplot is
left alone: no window opens, no global state changes.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from .verdict import Metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, RULE = "#24292f", "#6e7781", "#e3e6ea"
BLUE, ORANGE, GREEN, SKY = "#0072b2", "#d55e00", "#009e73", "#56b4e9"


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches. InputError if Matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError as error:
        raise InputError("figures need Matplotlib: pip install 'tinyalbert[demo]'") from error
    return Figure(figsize=(width, height), facecolor="white",
                  layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12))


def to_png(figure: Figure, dpi: int = 200) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")       # of a language without a font
        figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def series(metrics: Metrics, kind: str, key: str, scale: float = 1) -> tuple[list, list]:
    """Steps and values of one number in metrics.jsonl; what is not finite leaves a gap."""
    points = [(line["step"], line[key]) for line in metrics
              if line["kind"] == kind and line.get(key) is not None]
    return ([step for step, _ in points],
            [value * scale if math.isfinite(value) else math.nan for _, value in points])


# ---- training curves


def training_curves(metrics: Metrics, task: str = "sentence order") -> Figure:
    """Loss against the unigram level, accuracies, learning rate and gradient norm, over steps."""
    has_order = any("sentence_order_accuracy" in line for line in metrics)
    figure = new_figure(8, 7.6)
    panels = figure.subplot_mosaic(
        [["loss", "loss"], ["words", "order" if has_order else "words"], ["rate", "norm"]],
        height_ratios=[2.2, 1.3, 0.9])
    draw_loss(panels["loss"], metrics)
    style(panels["words"], "hidden pieces guessed right", "%")
    draw_both(panels["words"], metrics, "masked_lm_accuracy", 100)
    panels["words"].set_ylim(bottom=0)
    if has_order:
        style(panels["order"], f"{task} guessed right", "%")
        level(panels["order"], 50, "chance")
        draw_both(panels["order"], metrics, "sentence_order_accuracy", 100)
        low, high = panels["order"].get_ylim()
        panels["order"].set_ylim(min(low, 45), max(high, 60))
    for name, key, title in (("rate", "learning_rate", "learning rate"),
                             ("norm", "grad_norm", "gradient norm before clipping")):
        style(panels[name], title)
        panels[name].plot(*series(metrics, "train", key), color=MUTED, linewidth=1.2)
        panels[name].set_ylim(bottom=0)
        panels[name].set_xlabel("step", color=MUTED, fontsize=9)
    for ax in panels.values():
        ax.set_xlim(left=0)
        ax.locator_params(axis="x", integer=True)
        ax.yaxis.set_major_formatter("{x:g}")
    return figure


def draw_loss(ax: Axes, metrics: Metrics) -> None:
    style(ax, "masked-LM loss", "nats")
    draw_both(ax, metrics, "masked_lm_loss")
    draw(ax, series(metrics, "eval", "reference_loss"), color=GREEN, linewidth=1.4,
         linestyle=(0, (4, 2)), marker="o", markersize=3,
         label="held-out text, 15% single tokens hidden")
    for line in metrics:
        if line["kind"] == "start":
            entropy = line["unigram_entropy"]
            level(ax, entropy, f"ignores\ncontext\n{entropy:.2f}")
    steps, lengths = series(metrics, "train", "max_seq_length")
    for i in range(1, len(steps)):
        if lengths[i] != lengths[i - 1]:
            ax.axvline(steps[i - 1], color=RULE, zorder=0)
            ax.text(steps[i - 1], 0.02, f" {lengths[i]:g} tokens", color=MUTED, fontsize=8,
                    transform=ax.get_xaxis_transform())
    ax.margins(y=0.08)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(facecolor="white", edgecolor="none", fontsize=9, labelcolor=INK,
                  loc="upper right")


def draw_both(ax: Axes, metrics: Metrics, key: str, scale: float = 1) -> None:
    """Training in a thin light line, held-out text in a strong one with a dot per evaluation."""
    draw(ax, series(metrics, "train", key, scale), color=SKY, linewidth=1, label="training text")
    draw(ax, series(metrics, "eval", key, scale), color=BLUE, linewidth=1.8, marker="o",
         markersize=3.5, label="held-out text")


def draw(ax: Axes, points: tuple[list, list], **look: Any) -> None:
    if points[0]:                                               # else not even in the legend
        ax.plot(*points, **look)


def level(ax: Axes, y: float, text: str) -> None:
    """A horizontal line that the curves are to be compared with, named at its right end."""
    ax.axhline(y, color=ORANGE, linewidth=1.2, zorder=1.5)
    ax.annotate(text, (1, y), xycoords=("axes fraction", "data"), xytext=(4, 0),
                textcoords="offset points", va="center", fontsize=8.5, color=ORANGE)


def style(ax: Axes, title: str, unit: str = "") -> None:
    ax.set_title(title + (f" ({unit})" if unit else ""), loc="left", fontsize=10, color=INK)
    ax.spines[:].set_visible(False)
    ax.grid(axis="y", color=RULE, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.tick_params(length=0, labelsize=8.5, labelcolor=MUTED)


# ---- attention


def attention_maps(tokens: Sequence[str], maps: np.ndarray) -> Figure:
    """maps [L, N, T, T] as one sheet: a row of small multiples for each layer, a column for each
    head. Every small row is a token and shows what it looks at; all share one colour scale."""
    layers, heads, size = maps.shape[:3]
    step = size + 1                                             # one empty cell between two maps
    padded = np.pad(maps.astype(float), ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=np.nan)
    sheet = padded.swapaxes(1, 2).reshape(layers * step, heads * step)[:-1, :-1]
    cell = min(0.15, 120 / sheet.shape[1])                      # inches; Matplotlib has a limit
    figure = new_figure(sheet.shape[1] * cell + 2, sheet.shape[0] * cell + 1.2)
    ax = figure.subplots()
    darkest = max(maps.max(), 4 / size)                         # all alike, 1/T, stays pale
    image = ax.imshow(sheet, cmap="Blues", vmin=0, vmax=darkest, interpolation="nearest")
    labels = [token.replace("▁", "") or "▁" for token in tokens]
    ax.set_xticks([head * step + i for head in range(heads) for i in range(size)],
                  labels * heads, rotation=90, fontsize=8, parse_math=False)
    ax.set_yticks([layer * step + i for layer in range(layers) for i in range(size)],
                  labels * layers, fontsize=8, parse_math=False)
    ax.tick_params(length=0, pad=2, labelcolor=INK)
    ax.spines[:].set_visible(False)
    middle = (size - 1) / 2
    for head in range(heads):
        ax.text(head * step + middle, -1, f"head {head + 1}", ha="center", color=INK, fontsize=9)
    for layer in range(layers):
        ax.text(heads * step - 0.8, layer * step + middle, f"layer {layer + 1}", va="center",
                rotation=270, color=INK, fontsize=9)
    ax.set_ylabel("token that looks", color=MUTED, fontsize=8.5)
    ax.set_xlabel("token looked at", color=MUTED, fontsize=8.5)
    bar = figure.colorbar(image, ax=ax, shrink=min(1, 2 / (sheet.shape[0] * cell)), aspect=18)
    bar.set_label("attention probability", color=MUTED, fontsize=8.5)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=8, labelcolor=MUTED)
    return figure


# ---- the shared gradient


def shared_gradient(parts: np.ndarray) -> Figure:
    """parts [L, P], what each application of a shared layer adds to its gradient: how long these
    vectors and their sum are, and how well they agree (cosine)."""
    names = [f"layer {layer + 1}" for layer in range(len(parts))] + ["sum"]
    vectors = np.concatenate([parts, parts.sum(0, keepdims=True)]).astype(np.float64)  # [L+1, P]
    lengths = np.linalg.norm(vectors, axis=-1)
    unit = vectors / np.maximum(lengths, 1e-30)[:, None]
    figure = new_figure(8, 1.6 + 0.36 * len(names))
    bars, matrix = figure.subplots(1, 2, width_ratios=[1.2, 1])
    style(bars, "length of each contribution and of their sum")
    bars.grid(visible=False)
    bars.barh(names, lengths, height=0.62, color=[BLUE] * len(parts) + [ORANGE])
    for row, length in enumerate(lengths):
        bars.annotate(f"{length:.3g}", (length, row), xytext=(4, 0), textcoords="offset points",
                      va="center", fontsize=8.5, color=INK)
    bars.invert_yaxis()
    bars.set_xticks([])
    bars.margins(x=0.15)
    cosines = unit @ unit.T                                             # [L+1, L+1]
    style(matrix, "cosine between them")
    matrix.grid(visible=False)
    matrix.imshow(cosines, cmap="RdBu", vmin=-1, vmax=1)
    matrix.set_xticks(range(len(names)), names, rotation=90 if len(names) > 5 else 0)
    matrix.set_yticks(range(len(names)), names)
    matrix.set_anchor("NW")
    for (row, column), value in np.ndenumerate(cosines) if len(names) < 14 else ():
        matrix.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7.5,
                    color="white" if abs(value) > 0.6 else INK)
    return figure


# ---- the embedding table


def word_map(words: Sequence[str], vectors: np.ndarray) -> Figure:
    """Words at the two main axes of their vectors [n, E]. A word that would cover one that comes
    before it in the list is left out."""
    centred = vectors - vectors.mean(0)
    _, lengths, axes = np.linalg.svd(centred, full_matrices=False)
    places = centred @ axes[:2].T                                       # [n, 2]
    share = (lengths[:2] ** 2).sum() / (lengths ** 2).sum()
    figure = new_figure(8, 5.6)
    ax = figure.subplots()
    style(ax, f"two main axes of the embeddings, {share:.0%} of their variance")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.plot(*places.T, alpha=0)                                         # sets the limits
    ax.margins(0.08)
    figure.draw_without_rendering()                                     # so that sizes are known
    taken: list[Any] = []
    for word, (x, y) in zip(words, places, strict=True):
        text = ax.text(x, y, word, fontsize=8.5, color=INK, ha="center", va="center",
                       parse_math=False)
        box = text.get_window_extent().padded(1)
        if any(box.overlaps(other) for other in taken):
            text.remove()
        else:
            taken.append(box)
    return figure
