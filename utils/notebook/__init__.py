"""What a chapter uses: how its run is set up and closed, figures, seeds, timing.

A chapter begins with `chapter = notebook.start("gcn")`, records its values and ends with `chapter.finish()`.
"""

from utils.notebook.chapter import Chapter, start
from utils.notebook.profiles import device, profile, progress, seed_everything

__all__ = ["Chapter", "device", "profile", "progress", "seed_everything", "start"]
