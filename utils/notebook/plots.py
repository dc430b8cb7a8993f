"""One look for all figures: colour-blind safe, legible on a light and on a dark page.

The colours are those of Okabe and Ito. Figures have no ground; a dark page turns their lightness round and keeps hues.
"""

from __future__ import annotations

from pathlib import Path

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#6B6B6B", "#000000")


def use_style() -> None:
    """Set matplotlib's defaults for the book; called by `run.start`."""
    import matplotlib.style
    from cycler import cycler

    matplotlib.style.use(Path(__file__).with_suffix(".mplstyle"))
    matplotlib.rcParams["axes.prop_cycle"] = cycler(color=COLOURS)
