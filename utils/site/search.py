"""The index of words knows Chinese terms by their parts: 注意力 is found inside 图注意力网络, too.
It is written compactly, for every visit of the search page loads all of it."""

from __future__ import annotations

import json
import re
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.search.en import SearchEnglish

CHINESE = re.compile(r"[\u4e00-\u9fff]{2,}")
LONGEST = 6  # characters of a part


def parts(run: str) -> list[str]:
    """All stretches of two to six characters of a run of Chinese, which has no spaces to part its words."""
    lengths = range(2, min(LONGEST, len(run)) + 1)
    return [run[start : start + length] for length in lengths for start in range(len(run) - length + 1)]


class EnglishAndChinese(SearchEnglish):
    """English as Sphinx splits it, and the parts of Chinese terms."""

    def split(self, text: str) -> list[str]:
        """The words of a text."""
        return [*super().split(text), *(part for run in CHINESE.findall(text) for part in parts(run))]


def shorten(app: Sphinx, error: Exception | None) -> None:
    """Write the index again without blanks, and its Chinese as it is instead of by code numbers."""
    index = Path(app.outdir) / "searchindex.js"
    if error or not index.is_file():
        return
    text = index.read_text(encoding="utf-8")  # Search.setIndex({...})
    start, end = text.index("{"), text.rindex("}") + 1
    content = json.dumps(json.loads(text[start:end]), ensure_ascii=False, separators=(",", ":"))
    index.write_text(text[:start] + content + text[end:], encoding="utf-8")


def setup(app: Sphinx) -> dict:
    """Take the place of English, and shorten the index."""
    app.add_search_language(EnglishAndChinese)
    app.connect("build-finished", shorten)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
