"""Dataset cards: what a set is, where it comes from, its licence, splits, counts and caveats.
The facts are in data/cards.yml; a notebook cell shows the card that it ends with."""

from dataclasses import dataclass
from html import escape

from .provenance import stand_ins
from .registry import ROOT, unknown

NOTICE = "this run uses generated data of the same shape; the facts below are those of the real set"


@dataclass(frozen=True, repr=False)
class Card:
    """A dataset card: str() gives plain text, a notebook shows a table."""

    title: str
    facts: dict[str, str]  # heading -> text

    def __repr__(self) -> str:
        return "\n".join([self.title, *(f"  {heading}: {text}" for heading, text in self.facts.items())])

    def _repr_html_(self) -> str:
        rows = (f"<tr><th>{escape(heading)}</th><td>{escape(text)}</td></tr>" for heading, text in self.facts.items())
        return f'<table class="dataset-card"><caption>{escape(self.title)}</caption>{"".join(rows)}</table>'


def card(name: str) -> Card:
    """The card of a set (`cora`, ...), marked if it, or the data set that it describes, was last loaded as a stand-in.
    Raises UnknownName."""
    import yaml

    cards = yaml.safe_load((ROOT / "data" / "cards.yml").read_text(encoding="utf-8"))
    if name not in cards:
        raise unknown(name, cards, "dataset card", "data/cards.yml")
    facts = {key: text for key, text in cards[name].items() if key not in ("title", "dataset")}
    generated = not stand_ins.isdisjoint({name, cards[name]["dataset"]} - {"none"})
    return Card(cards[name]["title"], ({"stand-in": NOTICE} if generated else {}) | facts)
