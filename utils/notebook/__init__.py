"""What a chapter uses: how its run is set up and closed, figures, seeds, timing.

A chapter begins with `chapter = notebook.start("gcn")`, records its values and ends with `chapter.finish()`.
"""

from typing import TYPE_CHECKING, Any

from utils.notebook.profiles import device, profile, progress, seed_everything

if TYPE_CHECKING:
    from utils.notebook.chapter import Chapter, start
    from utils.notebook.explorables import explorable

__all__ = ["Chapter", "device", "explorable", "profile", "progress", "seed_everything", "start"]


def __getattr__(name: str) -> Any:
    """`Chapter`, `start` and `explorable` when they are asked for: `colab` installs what they import."""
    if name in ("Chapter", "start"):
        from utils.notebook import chapter

        return getattr(chapter, name)
    if name == "explorable":
        from utils.notebook import explorables

        return explorables.explorable
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
