"""English sentences with Chinese translations, from Tatoeba: each pair with its authors; no sentence leaks.
Stand-in: sentences of a small grammar, said in both languages.

Random rows would leak: people translate one sentence several times, and several sentences alike. So pairs that share a
sentence on either side, or are joined by a chain of such pairs, stay together in one part."""

import hashlib
import itertools
import re
import unicodedata
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import BadFile
from .files import path
from .provenance import real_or_stand_in
from .text import read_text

NAME = "tatoeba-cmn-eng"
PAIRS = "tatoeba-cmn-eng/cmn-eng.zip"
TABLE = "tatoeba-cmn-eng/TSCharacters.txt"
MEMBER = "cmn.txt"
LONGEST = 60  # words of an English sentence, characters of a Chinese one
WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)*")
ADVICE = "fetch it again"


@dataclass(frozen=True)
class Pair:
    """A sentence in two languages, without punctuation.

    Attributes:
        english: words in small letters.
        chinese: simplified characters; letters and digits stand for themselves.
        credit: who wrote both, as the file says.
    """

    english: tuple[str, ...]
    chinese: tuple[str, ...]
    credit: str


@dataclass(frozen=True, eq=False)
class Translations:
    """The parts of the pairs; no sentence of one part stands in another, in either language."""

    train: tuple[Pair, ...]
    validation: tuple[Pair, ...]
    test: tuple[Pair, ...]
    stand_in: bool


def load() -> Translations:
    """Load the 32028 pairs, or as many as a small grammar gives when a file is out of reach.
    Raises any DataError but Unreachable; BadFile names the line that is wrong."""
    return real_or_stand_in(NAME, _of_files, generated)


def _of_files() -> Translations:
    return split(parsed(_member(path(PAIRS)), simplifier(read_text(path(TABLE), TABLE))), stand_in=False)


def _member(place: Path) -> str:
    """The text of the pairs within the archive; a byte order mark and carriage returns do no harm."""
    try:
        with zipfile.ZipFile(place) as archive:
            text = archive.read(MEMBER).decode("utf-8-sig")
    except (zipfile.BadZipFile, KeyError, UnicodeDecodeError) as error:
        raise BadFile(PAIRS, f"no archive with {MEMBER} in UTF-8 ({error})", str(place), ADVICE) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def simplifier(text: str) -> dict[int, str]:
    """What each traditional character becomes, from lines of a character, a tab and its simplified forms; the first
    form counts. Raises BadFile, which names the line."""
    table = {}
    for at, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        old, _, new = line.partition("\t")
        if len(old) != 1 or not new.strip():
            raise BadFile(TABLE, f"line {at} is not a character and its simplified forms: {line[:40]!r}", TABLE, ADVICE)
        table[ord(old)] = new.split()[0]
    return table


def words(text: str) -> tuple[str, ...]:
    """English words in small letters, without punctuation; "don't" is one word."""
    return tuple(WORD.findall(unicodedata.normalize("NFKC", text).lower().replace("’", "'")))


def characters(text: str, table: dict[int, str]) -> tuple[str, ...]:
    """Chinese characters, letters and digits of a text, simplified, without punctuation and blanks."""
    plain = unicodedata.normalize("NFKC", text).lower().translate(table)
    return tuple(character for character in plain if character.isalnum())


def parsed(text: str, table: dict[int, str]) -> list[Pair]:
    """Pairs from lines of an English text, a Chinese text and a credit, with tabs between.
    Raises BadFile, which names the line and what is wrong with it."""
    found = []
    for at, line in enumerate(text.removeprefix("\ufeff").rstrip("\r\n").splitlines(), 1):
        fields = line.split("\t")
        if len(fields) != 3 or not fields[2].strip():
            raise _bad(at, "is not English, Chinese and a credit", line)
        if "\ufffd" in line or any(unicodedata.category(c) == "Cc" for field in fields for c in field):
            raise _bad(at, "holds a character that cannot be read", line)
        pair = Pair(words(fields[0]), characters(fields[1], table), fields[2].strip())
        if not pair.english or not pair.chinese:
            raise _bad(at, f"has no {'Chinese' if pair.english else 'English'} sentence", line)
        if max(len(pair.english), len(pair.chinese)) > LONGEST:
            raise _bad(at, f"has a sentence of more than {LONGEST} words or characters", line)
        found.append(pair)
    if not found:
        raise BadFile(PAIRS, "it holds no pair", PAIRS, ADVICE)
    return found


def _bad(at: int, what: str, line: str) -> BadFile:
    return BadFile(PAIRS, f"line {at} {what}: {line[:40]!r}", PAIRS, ADVICE)


def split(pairs: Sequence[Pair], stand_in: bool) -> Translations:
    """Each group of pairs that are joined by a sentence they share goes to one part: a twentieth of the groups to the
    test, a twentieth to validation, by the SHA-256 of its first English sentence in alphabetical order."""
    groups, parts = joined(pairs), {"train": [], "validation": [], "test": []}  # type: ignore[var-annotated]
    first: dict[int, str] = {}
    for pair, group in zip(pairs, groups, strict=True):
        first[group] = min(first.get(group, "\uffff"), " ".join(pair.english))
    for pair, group in zip(pairs, groups, strict=True):
        place = int(hashlib.sha256(first[group].encode()).hexdigest(), 16) % 20
        parts[{0: "test", 1: "validation"}.get(place, "train")].append(pair)
    return Translations(*map(tuple, parts.values()), stand_in=stand_in)  # type: ignore[arg-type, misc]


def joined(pairs: Sequence[Pair]) -> list[int]:
    """For each pair the first pair that it is joined to, over any chain of shared sentences."""
    parents = list(range(len(pairs)))

    def root(of: int) -> int:
        while parents[of] != of:
            parents[of] = of = parents[parents[of]]
        return of

    seen: dict[tuple[str, ...], int] = {}
    for number, pair in enumerate(pairs):
        for sentence in (("english", *pair.english), ("chinese", *pair.chinese)):
            other = seen.setdefault(sentence, number)
            low, high = sorted((root(other), root(number)))
            parents[high] = low
    return [root(number) for number in range(len(pairs))]


def generated() -> Translations:
    """The stand-in: who does what to what, and when; the time comes last in English and second in Chinese."""
    who = {"i": "我", "you": "你", "they": "他们", "my mother": "我妈妈", "the doctor": "医生", "tom": "汤姆"}
    does = {"buy": "买", "see": "看", "want": "要", "find": "找到", "like": "喜欢", "forget": "忘记", "draw": "画"}
    what = {"water": "水", "a dog": "狗", "the book": "书", "two apples": "两个苹果", "an old car": "旧车", "tea": "茶"}
    when = {"": "", "today": "今天", "tomorrow": "明天", "every day": "每天"}
    pairs = []
    for (a, x), (b, y), (c, z), (d, t) in itertools.product(*(part.items() for part in (who, does, what, when))):
        pairs.append(Pair(words(f"{a} {b} {c} {d}"), tuple(x + t + y + z), "made up for this book"))
    return split(pairs, stand_in=True)
