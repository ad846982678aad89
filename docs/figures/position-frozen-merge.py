"""Draw docs/figures/position-frozen-merge.svg: how position and frozen become a network, and what moves position.

python docs/figures/position-frozen-merge.py
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

TRAINED, FIXED, INK, PALE = "#3f51b5", "#d9730d", "#222222", "#f3f4f8"
IS_FIXED = np.array([[0, 1, 0, 0], [1, 0, 0, 1], [0, 0, 1, 0]], bool)

plt.rcParams.update({"svg.hashsalt": "asymjax", "font.size": 14})
fig = plt.figure(figsize=(6.4, 8.6))
ax = fig.add_axes((0, 0, 1, 1))
ax.set(xlim=(0, 6.4), ylim=(0, 8.6))
ax.axis("off")


def box(x, y, width, height, title, text, edge=INK):
    """Draw a box with a name and what it holds, from its lower left corner."""
    ax.add_patch(FancyBboxPatch((x, y), width, height, "round,pad=0,rounding_size=0.12", fc=PALE, ec=edge, lw=2))
    ax.text(x + 0.18, y + height - 0.16, title, weight="bold", size=16, va="top", color=edge, family="monospace")
    ax.text(x + 0.18, y + height - 0.55, text, va="top", color=INK, linespacing=1.35)


def cells(x, y, colors, size=0.34):
    """Draw a matrix of coloured entries, from its upper left corner; None leaves an entry empty."""
    for (row, column), color in np.ndenumerate(colors):
        place = (x + column * size, y - (row + 1) * size)
        ax.add_patch(
            Rectangle(place, size, size, fc=color or "white", ec="#bbbbbb" if color is None else "white", lw=1)
        )


def arrow(start, end):
    """Draw an arrow."""
    style = {"arrowstyle": "-|>", "mutation_scale": 20, "lw": 2, "color": INK, "shrinkA": 0, "shrinkB": 0}
    ax.add_patch(FancyArrowPatch(start, end, **style))


box(0.75, 6.35, 2.55, 2.1, "position", "what is trained", TRAINED)
cells(0.93, 7.45, np.full((1, 8), TRAINED, object), 0.27)
ax.text(0.93, 7.03, "the free entries", va="top", color=INK, size=13)
box(3.6, 6.35, 2.6, 2.1, "frozen", "what is fixed", FIXED)
cells(4.22, 7.6, np.where(IS_FIXED, FIXED, None))

arrow((2.0, 6.35), (2.9, 5.75))
arrow((4.9, 6.35), (4.0, 5.75))
ax.text(3.45, 6.05, "merge", weight="bold", size=16, ha="center", va="center", family="monospace")
box(0.75, 4.4, 5.45, 1.35, "params", "effective weights,\nwhat the network reads")
cells(4.22, 5.58, np.where(IS_FIXED, FIXED, TRAINED).astype(object))

arrow((3.45, 4.4), (3.45, 3.95))
box(0.75, 3.0, 5.45, 0.95, "forward", "the network: params and inputs to outputs")
arrow((3.45, 3.0), (3.45, 2.55))
box(0.75, 1.6, 5.45, 0.95, "posterior", "log prior(position) + log likelihood(outputs)")
arrow((3.45, 1.6), (3.45, 1.15))
box(0.75, 0.2, 5.45, 0.95, "sampler, optimizer", "moves position; frozen never changes")

ax.plot([0.75, 0.3, 0.3], [0.67, 0.67, 7.5], color=INK, lw=2, solid_joinstyle="round")
arrow((0.3, 7.5), (0.75, 7.5))


fig.savefig(Path(__file__).with_suffix(".svg"), metadata={"Date": None})
