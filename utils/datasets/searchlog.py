"""A search log that is simulated by design: users with an intent, who reformulate their queries by known acts.
Lines have the five columns of the AOL log and a sixth that no real log has: the act that made the query."""

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import cache
from itertools import accumulate

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


def facet(domain: str, member: int, chosen: list[str], draw: random.Random) -> str:
    """A facet word: often the one after the last chosen, else by liking; parents and children differ in liking."""
    words = FACETS[domain].split()
    if chosen and draw.random() < 0.7:
        return words[(words.index(chosen[-1]) + 1) % 12]
    return words[(draw.choices(range(12), cum_weights=zipf(12))[0] + 4 * (member > 0)) % 12]


def session(draw: random.Random) -> Iterator[tuple[list[str], str, str]]:
    """The queries of one session as (terms, act, best site); no query comes twice, spelling apart."""
    domain, families = draw.choices(world(), (3, 2, 2))[0]
    family = draw.choices(range(len(families)), cum_weights=zipf(len(families)))[0]
    member = draw.choice((0, 0, draw.randrange(len(families[family]))))
    chosen = [facet(domain, member, [], draw)] if draw.random() < 0.6 else []
    seen, act = set(), ""
    for _ in range(1 if draw.random() < 0.5 else 2 + int(draw.expovariate(0.65))):
        terms = [families[family][member], *chosen]
        seen.add((family, member, frozenset(chosen)))
        if draw.random() < 0.05:
            word, at = terms[0], draw.randrange(len(terms[0]) - 1)  # two neighbouring letters exchanged
            yield [word[:at] + word[at + 1] + word[at] + word[at + 2 :], *chosen], act, f"{word}.example"
            act = "spelling"
        yield terms, act, f"{(chosen or terms)[-1]}.{families[family][0]}.example"
        for _ in range(20):  # redraw what cannot be done or leads back
            kind = draw.choices(ACTS[:5], HABIT[act])[0]
            f, m, c, size = family, member, list(chosen), len(families[family])
            if kind == "specialise" and m == 0:
                m = draw.choices(range(1, size), cum_weights=zipf(size - 1))[0]
            elif kind == "generalise" and m:
                m = 0
            elif kind == "parallel" and m:
                m = 1 + m % (size - 1) if draw.random() < 0.7 else draw.randrange(1, size)
            elif kind == "parallel":
                f = (f + draw.choice((-2, -1, 1, 2))) % len(families)
            elif kind == "add" and len(c) < 3:
                c.append(facet(domain, m, c, draw))
            elif kind == "drop" and c:
                c.pop(draw.randrange(len(c)))
            if (f, m, frozenset(c)) not in seen and len(set(c)) == len(c):
                family, member, chosen, act = f, m, c, kind
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
