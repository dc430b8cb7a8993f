"""What the chapters share, in rooms: data sets, records of runs, what a notebook uses, the site, the tools.

Models, losses and training of a paper live in its notebook, not here.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
