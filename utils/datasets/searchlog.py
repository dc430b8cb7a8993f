"""A search log that is simulated by design: users with an intent, who reformulate their queries by known acts.
Lines have the five columns of the AOL log and a sixth that no real log has: the act that made the query."""

import random
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import cache
from itertools import accumulate
from typing import NamedTuple

ACTS = ("specialise", "generalise", "parallel", "add", "drop", "spelling")
START, DAYS = datetime(2006, 3, 1), 92  # as AOL: 1 March to 31 May
FACETS = {
    "places": "travel hotel map weather flights restaurants museum jobs news photos visa hostel",
    "makers": "price review manual repair used dealer parts recall insurance photos specs warranty",
    "bands": "lyrics tour tickets chords album video mp3 poster news biography photos forum",
}
PLACES = """japan tokyo osaka kyoto|italy rome milan venice|france paris lyon nice|spain madrid seville bilbao
germany berlin hamburg munich|england london leeds bristol|austria vienna graz linz|norway oslo bergen bodo
portugal lisbon porto faro|greece athens patras chania|sweden stockholm malmo uppsala|poland warsaw krakow gdansk
egypt cairo luxor aswan|kenya nairobi mombasa kisumu|peru lima cusco iquitos|chile santiago arica iquique
canada ottawa toronto halifax|cuba havana holguin trinidad|india delhi mumbai jaipur|china beijing shanghai xian
ireland dublin cork galway|denmark copenhagen aarhus odense|finland helsinki turku oulu|turkey ankara izmir bursa"""
HABIT = {  # how likely each act is after the one before it; a row need not add up to one
    **dict.fromkeys(("", "spelling"), (4, 1, 3, 5, 1.5)),
    **{"specialise": (1, 0.1, 5, 3, 0.5), "generalise": (0.1, 1, 5, 1, 3), "parallel": (0.5, 0.5, 9, 0.7, 0.3)},
    **{"add": (1, 0.2, 0.7, 9, 0.1), "drop": (0.2, 3, 1, 0.1, 9)},
}


@cache
def world() -> list[tuple[str, list[tuple[str, ...]]]]:
    """Entities: (domain, families); a family is a parent and its children. Most names are made up, by a fixed seed."""
    draw, seen, made = random.Random(2006), set(PLACES.replace("|", " ").split()), []

    def name() -> str:
        while (word := "".join(draw.choice("bdfgklmnprstvz") + draw.choice("aeiou") for _ in range(3))) in seen:
            pass
        seen.add(word)
        return word

    for domain in FACETS:
        known = [tuple(f.split()) for f in PLACES.replace("\n", "|").split("|")] if domain == "places" else []
        made.append((domain, known + [tuple(name() for _ in range(draw.randint(4, 7))) for _ in known or range(64)]))
    return made


@cache
def zipf(count: int, power: float = 0.4) -> list[float]:
    """Running sums of the weights 1 / rank^power, for `random.choices(cum_weights=...)`."""
    return list(accumulate((rank + 1) ** -power for rank in range(count)))


class Intent(NamedTuple):
    """What a user looks for: a member of a family of entities (0 is the parent) and facets of it."""

    family: int
    member: int
    facets: tuple[str, ...]

    def queried(self) -> tuple[int, int, frozenset[str]]:
        """What two queries have in common that differ in the order of their words only."""
        return self.family, self.member, frozenset(self.facets)


def facet(domain: str, member: int, chosen: Sequence[str], draw: random.Random) -> str:
    """A facet word: often the one after the last chosen, else by liking; parents and children differ in liking."""
    words = FACETS[domain].split()
    if chosen and draw.random() < 0.7:
        return words[(words.index(chosen[-1]) + 1) % 12]
    return words[(draw.choices(range(12), cum_weights=zipf(12))[0] + 4 * (member > 0)) % 12]


def misspelt(word: str, draw: random.Random) -> str:
    """The word with two neighbouring letters exchanged."""
    at = draw.randrange(len(word) - 1)
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def reformulated(intent: Intent, act: str, domain: str, families: Sequence[tuple], draw: random.Random) -> Intent:
    """The intent after an act; the same intent where the act cannot be done."""
    family, member, facets = intent
    children = len(families[family]) - 1
    match act:
        case "specialise" if member == 0:
            child = draw.choices(range(1, children + 1), cum_weights=zipf(children))[0]
            return intent._replace(member=child)
        case "generalise" if member > 0:
            return intent._replace(member=0)
        case "parallel" if member > 0:
            following = draw.random() < 0.7
            return intent._replace(member=1 + member % children if following else draw.randrange(1, children + 1))
        case "parallel":
            return intent._replace(family=(family + draw.choice((-2, -1, 1, 2))) % len(families))
        case "add" if len(facets) < 3:
            return intent._replace(facets=(*facets, facet(domain, member, facets, draw)))
        case "drop" if facets:
            dropped = draw.randrange(len(facets))
            return intent._replace(facets=facets[:dropped] + facets[dropped + 1 :])
    return intent


def session(draw: random.Random) -> Iterator[tuple[list[str], str, str]]:
    """The queries of one session as (terms, act, best site); no query comes twice, spelling apart."""
    domain, families = draw.choices(world(), (3, 2, 2))[0]
    family = draw.choices(range(len(families)), cum_weights=zipf(len(families)))[0]
    member = draw.choice((0, 0, draw.randrange(len(families[family]))))
    facets = (facet(domain, member, (), draw),) if draw.random() < 0.6 else ()
    intent, act, seen = Intent(family, member, facets), "", set()
    for _ in range(1 if draw.random() < 0.5 else 2 + int(draw.expovariate(0.65))):
        seen.add(intent.queried())
        name, parent = families[intent.family][intent.member], families[intent.family][0]
        if draw.random() < 0.05:
            yield [misspelt(name, draw), *intent.facets], act, f"{name}.example"
            act = "spelling"
        yield [name, *intent.facets], act, f"{(intent.facets or [name])[-1]}.{parent}.example"
        for _ in range(20):  # draw again what cannot be done or leads back
            next_act = draw.choices(ACTS[:5], HABIT[act])[0]
            found = reformulated(intent, next_act, domain, families, draw)
            if found.queried() not in seen and len(set(found.facets)) == len(found.facets):
                intent, act = found, next_act
                break
        else:
            return


def lines(users: int, seed: int = 0) -> Iterator[str]:
    """The log of `users` users, tab-separated, by user and time; the same seed gives the same lines."""
    draw = random.Random(seed)
    for user in range(users):
        for start in sorted(draw.random() * DAYS for _ in range(1 + int(draw.expovariate(0.25)))):
            time = START + timedelta(days=start)
            for terms, act, site in session(draw):
                head = f"{seed}-{user}\t{' '.join(terms)}\t"
                clicks = draw.choices((0, 1, 2), (45, 45, 10))[0]
                for rank in range(max(clicks, 1)):
                    click = f"{rank + 1}\t{site if rank == 0 else 'www.' + site}" if clicks else "\t"
                    yield f"{head}{time:%Y-%m-%d %H:%M:%S}\t{click}\t{act}"
                    time += timedelta(seconds=5 + draw.expovariate(1 / 50))
