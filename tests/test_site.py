"""The built site: it builds without warnings, its links resolve, and every page is opened in a browser."""

import functools
import gzip
import os
import re
import subprocess
import sys
import zipfile
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import axe_playwright_python
import pypdf
import pytest
import yaml
from bs4 import BeautifulSoup, Tag
from conftest import FOLLOW, NO_BROWSER
from PIL import Image
from playwright.sync_api import sync_playwright

from utils import ROOT
from utils.records import claims, runs, verdicts
from utils.site import assets, front, head, icons, views
from utils.site import pages as pages_of_site
from utils.tools import pdf

PHONE = {"width": 375, "height": 800}
DESK = {"width": 1440, "height": 900}
HEAVIEST = {True: 3_000_000, False: 1_100_000}  # bytes of a page, with and without formulas
SMALL_DESK = {"width": 1280, "height": 800}
LAPTOP = {"width": 1200, "height": 800}  # the narrowest window with a column on either side of the text
AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
# How far the parts of a page move while it loads.
SHIFTS = """window.shifts = 0;
new PerformanceObserver(list => list.getEntries().forEach(entry => { window.shifts += entry.value; }))
    .observe({type: "layout-shift", buffered: true});"""
# How far to the right each verdict of the recorded run reaches.
VERDICTS = """[...document.querySelectorAll('.recorded-run .badge')]
  .map(badge => badge.getBoundingClientRect().right)"""
# How far each verdict of a chapter reaches out of the box that its table scrolls in.
BEYOND = """[...document.querySelectorAll('.recorded-run .badge')]
  .map(badge => badge.getBoundingClientRect().right - badge.closest('.table-box').getBoundingClientRect().right)"""
# Letters in the picture of a chapter that are small, reach out of their box, or touch those beside them.
LETTERS = """[...document.querySelectorAll('figure.dots .dots-row')].flatMap(row => {
  const room = row.closest('.headlines').getBoundingClientRect();
  const parts = [...row.querySelectorAll('text, .name')].map(part => [part, part.getBoundingClientRect()])
    .filter(([, box]) => box.width).sort((a, b) => a[1].left - b[1].left);
  return parts.filter(([part, box], k) => parseFloat(getComputedStyle(part).fontSize) < 11
    || box.left < room.left || box.right > room.right
    || (part.matches('.name') && part.scrollWidth > part.clientWidth + 1)
    || parts.slice(0, k).some(([, other]) => box.left < other.right - 1 && box.top < other.bottom - 1
      && other.top < box.bottom - 1)).map(([part]) => part.textContent);
})"""
# Whether the claims of the scoreboard stand in another order than those given.
REORDERED = """before => [...document.querySelectorAll('#claims-table tbody td:nth-child(3)')]
  .some((cell, number) => cell.innerText !== before[number])"""
# The longest lines of code blocks that are wider than their box, folded ones left out.
CUT_CODE = """[...document.querySelectorAll('div.highlight pre')]
  .filter(block => block.clientWidth && block.scrollWidth > block.clientWidth + 1)
  .map(block => block.textContent.split('\\n').sort((a, b) => b.length - a.length)[0])"""
# Screens between one figure or table and the next, at most.
LONGEST_STRETCH = """(() => {
  const article = document.querySelector('article').getBoundingClientRect();
  const shown = [...document.querySelectorAll('article :is(figure, table, img, svg)')]
    .map(part => part.getBoundingClientRect()).filter(box => box.height > 40).sort((a, b) => a.top - b.top);
  let [end, longest] = [article.top, 0];
  for (const box of [...shown, {top: article.bottom, bottom: article.bottom}]) {
    longest = Math.max(longest, box.top - end);
    end = Math.max(end, box.bottom);
  }
  return longest / innerHeight;
})()"""
# How many formulas begin left of their box, where no scrolling reaches.
CUT = """[...document.querySelectorAll('div.math')].filter(box => [...box.querySelectorAll('mjx-container, mjx-math')]
  .some(part => part.getBoundingClientRect().left < box.getBoundingClientRect().left - 1)).length"""
# Formulas are MathJax's and colours of code the theme's; both are slow to judge and not ours.
JUDGED = (
    "axe.run({exclude: [['.math'], ['div.highlight']]}, {runOnly: ['wcag2a', 'wcag2aa'], resultTypes: ['violations']})"
)


class Page(HTMLParser):
    """The links, ids and images of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.images: list[dict] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.links += [values[key] for key in ("href", "src") if values.get(key)]
        self.ids |= {values[key] for key in ("id", "name") if values.get(key)}
        if tag == "img":
            self.images.append(values)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The folder of a site that was built just now, with warnings as errors."""
    out = tmp_path_factory.mktemp("site")
    jupyter_book = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()"]
    build = [*jupyter_book, "build", str(ROOT), "-W", "-n", "--keep-going", "-q"]
    build += ["--path-output", str(out)]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return out / "_build" / "html"


@pytest.fixture(scope="module")
def pages(site) -> dict[str, Page]:
    paths = [path for path in sorted(site.rglob("*.html")) if "_static" not in path.parts]
    return {path.relative_to(site).as_posix(): Page(path) for path in paths}


def chromium() -> str | None:
    """A browser: the one named by CHROMIUM, one on the path, or playwright's own."""
    found = pdf.chromium()
    if found is None:
        with sync_playwright() as playwright:
            own = playwright.chromium.executable_path
        found = own if Path(own).exists() else None
    return found


@pytest.fixture(scope="module")
def browser():
    path = chromium()
    if path is None:
        pytest.skip(NO_BROWSER)
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    quiet += ["--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=quiet)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(site):
    """The site, served on this machine."""
    with pdf.served(site) as place:
        yield place


@pytest.fixture(scope="module")
def visits(browser, address, pages) -> dict[str, dict]:
    """What happened when each page was opened, at the width of a phone."""
    found = {}
    context = browser.new_context(viewport=PHONE)
    for name in pages:
        page = context.new_page()
        requests, messages = [], []
        page.on("request", lambda request, seen=requests: seen.append(request.url))
        page.on("console", lambda message, seen=messages: seen.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error, seen=messages: seen.append(f"error: {error}"))
        page.goto(address + name, wait_until="networkidle")
        page.evaluate("window.MathJax?.startup?.promise")
        found[name] = {
            "requests": requests,
            "messages": [text for text in messages if text.startswith(("error", "warning"))],
            "width": page.evaluate("document.documentElement.scrollWidth"),
            "formulas": page.evaluate("document.querySelectorAll('.math').length"),
            "unset": page.evaluate("document.querySelectorAll('.math:not(:has(mjx-container))').length"),
            "cut": page.evaluate(CUT),
            "verdicts": page.evaluate(VERDICTS),
            "letters": page.evaluate(LETTERS),
            "faulty": page.evaluate("[...document.querySelectorAll('mjx-merror')].map(e => e.dataset.mjxError)"),
        }
        page.set_viewport_size(LAPTOP)
        found[name]["beyond"] = page.evaluate(BEYOND)
        found[name]["letters"] += page.evaluate(LETTERS)
        page.close()
    context.close()
    return found


def test_every_page_of_the_contents_is_built(pages):
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    files = [toc["root"], *(chapter["file"] for part in toc["parts"] for chapter in part["chapters"])]
    assert {f"{file}.html" for file in files} <= set(pages)
    notebooks = {f"chapters/{path.stem}" for path in (ROOT / "chapters").glob("*.ipynb")}
    assert notebooks == {file for file in files if file.startswith("chapters/")}


def test_internal_links_resolve(site, pages):
    broken = []
    for name, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (site / name).parent / unquote(parts.path) if parts.path else site / name
            target = target.resolve()
            if not target.exists():
                broken.append(f"{name} -> {link}")
            elif parts.fragment and target.suffix == ".html":
                other = pages.get(target.relative_to(site.resolve()).as_posix())
                if other and unquote(parts.fragment) not in other.ids:
                    broken.append(f"{name} -> {link}")
    assert not broken, "\n".join(broken)


def test_the_map_of_ideas_leads_to_every_chapter(site):
    drawn = (site / "index.html").read_text(encoding="utf-8").partition('class="ideas"')[2].partition("</svg>")[0]
    linked = set(re.findall(r'href="chapters/(\w+)\.html"', drawn))
    assert linked == {path.stem for path in (ROOT / "chapters").glob("*.ipynb")}


def test_first_mentions_of_terms_lead_to_the_glossary(site, pages):
    for name, page in pages.items():
        if name.startswith("chapters/"):
            terms = [link for link in page.links if "glossary.html#term-" in link]
            assert len(terms) >= 5, f"{name} uses hardly any term of the glossary"
            assert len(set(terms)) == len(terms), f"{name} links a term twice"
            headings = re.findall(r"<h[1-6].*?</h[1-6]>", (site / name).read_text(encoding="utf-8"), re.S)
            assert not any("term-" in heading for heading in headings)


def test_every_chapter_says_how_to_cite_it_and_how_long_it_takes(site, pages):
    times = (site / "running.html").read_text(encoding="utf-8")
    for name in pages:
        if name.startswith("chapters/"):
            chapter = Path(name).stem
            assert f"@misc{{paperwalkthroughs-{chapter.replace('_', '-')}," in (site / name).read_text(encoding="utf-8")
            assert name in times, f"no recorded run of {chapter}"


def test_every_module_of_the_helper_code_is_on_its_page():
    modules = {path.relative_to(ROOT).with_suffix("") for path in (ROOT / "utils").rglob("*.py") if path.stat().st_size}
    names = {".".join(part for part in path.parts if part != "__init__") for path in modules}
    page = (ROOT / "api.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"automodule:: (\S+)", page))
    for room in re.findall(r"\{modules\} (\S+)", page):
        rows = pages_of_site.modules(room)
        assert all(rows.values()), f"a module of {room} says nothing of itself"
        listed |= set(rows)
    assert listed == names - {"utils", "utils.datasets.__main__"}


def test_no_page_holds_a_path_of_this_machine(site, pages):
    assert [name for name in pages if str(ROOT) in (site / name).read_text(encoding="utf-8")] == []


def test_images_have_alternative_text(pages):
    silent = {name: [i.get("src") for i in page.images if not i.get("alt")] for name, page in pages.items()}
    assert not any(silent.values()), silent


def test_pages_are_light(site, pages):
    heavy = {name: size for name in pages if (size := (site / name).stat().st_size) > 3_000_000}
    assert not heavy


def test_helper_archive_is_complete_and_repeatable(site, tmp_path):
    from utils.tools import archive

    made = site / "_static" / "paper-walkthroughs.zip"
    archive.write(tmp_path / "again.zip")
    assert made.read_bytes() == (tmp_path / "again.zip").read_bytes()
    names = zipfile.ZipFile(made).namelist()
    assert {"utils/records/claims.py", "data/registry.csv", "data/cards.yml", "requirements-chapters.txt"} <= set(names)
    assert not [name for name in names if "__pycache__" in name]


# --- claims and recorded runs, as the pages show them ---


def rows_of(soup: BeautifulSoup) -> dict[str, Tag]:
    """The rows of the recorded run on a chapter's page, by claim."""
    rows = soup.select(".recorded-run tr[id^=claim-]")
    return {row["id"].removeprefix("claim-"): row for row in rows}


def badge(row: Tag) -> str:
    return row.select_one(".badge").get_text()


@pytest.fixture(scope="module")
def soups(site) -> dict[str, BeautifulSoup]:
    paths = {name: site / f"chapters/{name}.html" for name in claims.chapters()}
    paths |= {name: site / f"{name}.html" for name in ("index", "scoreboard", "explorables")}
    return {name: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser") for name, path in paths.items()}


def test_every_row_of_the_scoreboard_lands_on_the_row_that_it_quotes(soups):
    seen = set()
    for row in soups["scoreboard"].select("table.scores tbody tr"):
        chapter, claim = re.fullmatch(r"chapters/(\w+)\.html#claim-(\S+)", row.select_one("a")["href"]).groups()
        there = rows_of(soups[chapter])[claim]
        assert len(soups[chapter].select(f"[id='claim-{claim}']")) == 1, f"{chapter}: two places for {claim}"
        assert badge(row) == badge(there), f"{chapter}: {claim}"
        heads = [head.get_text() for head in row.find_parent("table").select("thead th")]
        shown = row.select("td")[heads.index("Here")]
        assert there.select_one(".measured").get_text() == shown.get_text(), f"{chapter}: {claim}"
        seen.add((chapter, claim))
    assert seen == {(name, claim.id) for name in claims.chapters() for claim in claims.load(name).claims}


def test_the_overview_counts_scored_claims_only(soups):
    for row in soups["scoreboard"].select("table.overview tbody tr"):
        chapter = Path(row.select_one("a")["href"]).stem
        counted = sum(int(cell.get_text()) for cell in row.select("td")[1:-1] if cell.get_text() != "–")
        assert counted == sum(claim.evidence in verdicts.SCORED for claim in claims.load(chapter).claims)


def test_every_chapter_leads_with_its_headline_claims(soups):
    for name in claims.chapters():
        chosen = [claim.id for claim in claims.load(name).claims if claim.headline]
        places = soups[name].select(".headlines")
        assert len(places) == 1, f"{name} has no headline directive, or two"
        numbers = " ".join(place.get_text() for place in places[0].select("li .numbers"))
        assert ("±" in numbers) == ("±" in places[0].select_one("p.from").get_text()), f"{name}: what ± means"
        assert [link["href"].partition("#claim-")[2] for link in places[0].select("li > a")] == chosen
        rows = rows_of(soups[name])
        assert [badge(line) for line in places[0].select("li")] == [badge(rows[claim]) for claim in chosen]
        assert list(rows)[: len(chosen)] == chosen, f"{name}: headline claims do not come first"


def test_the_column_paper_holds_numbers_of_papers_only(soups):
    for name in claims.chapters():
        file = claims.load(name)
        for claim_id, row in rows_of(soups[name]).items():
            claim = file[claim_id]
            if claim.evidence == "check":
                assert row.find_parent("table")["class"] == ["checks"]
            else:
                said = row.select("td")[1].get_text()
                numbers = [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", said.removesuffix(claim.unit))]
                assert numbers == ([] if claim.paper is None else [round(claim.paper, claim.digits)])
                assert claim.evidence != "own" or said == "–"


def test_accepted_bounds_are_printed_and_reproduced_values_lie_within(soups):
    held = 0
    for name in claims.chapters():
        file, run = claims.load(name), runs.leading(name)
        for claim_id, row in rows_of(soups[name]).items():
            claim = file[claim_id]
            cells = [cell.get_text().replace("\xa0", " ") for cell in row.select("td")]
            accepted, recorded = cells[1:3] if claim.evidence == "check" else cells[2:4]
            assert accepted == claim.accepted()
            if row.select_one(".badge-reproduced"):
                shown = float(re.search(r"(?:by |slope )?(-?\d+\.?\d*)(?! of)", recorded)[1])
                if claim.kind == "ordering":
                    shown = float(re.findall(r"[-+]?\d+\.\d+|[-+]\d+", recorded)[0])
                last = 0.5 * 10**-claim.digits  # what rounding may move
                assert claim.band[0] - last <= shown <= claim.band[1] + last, f"{name}: {claim_id}"
                assert claim.band[0] - 1e-9 <= claim.summary(run.records[claim_id]) <= claim.band[1] + 1e-9
                held += 1
    assert held > 100


def test_an_order_in_a_sentence_is_a_signed_difference(soups):
    seen = 0
    for name in claims.chapters():
        for link in soups[name].select("a.recorded"):
            page, _, claim = link["href"].partition("#claim-")
            if claims.load(Path(page).stem or name)[claim].kind == "ordering":
                assert re.fullmatch(r"([+−]\d|0)[\d.]*( ± [\d.]+)?", link.get_text()), f"{name}: {claim}"
                seen += 1
    assert seen > 100


def test_only_stale_records_are_called_stale(soups):
    for name in claims.chapters():
        run = runs.leading(name)
        marks = soups[name].select(".stale")
        assert bool(marks) == bool(run.stale), f"{name}: {run.stale}"
        assert run.stale or "Made by the code as it stands." in soups[name].select_one(".provenance").get_text()
    old = {row.td.get_text() for row in soups["scoreboard"].select("table.overview tbody tr") if row.select(".stale")}
    assert old == {claims.load(name).title for name in claims.chapters() if runs.leading(name).stale}


def test_late_claims_carry_their_date(soups):
    for name in claims.chapters():
        file = claims.load(name)
        for claim_id, row in rows_of(soups[name]).items():
            mark = row.select_one(".after")
            assert (mark and mark.get_text()) == (file[claim_id].after and f"† {file[claim_id].after}")


@pytest.mark.parametrize(
    ("evidence", "verdict", "words"),
    [
        ("paper", "reproduced", "reproduced"),
        ("second-hand", "not reproduced", "not reproduced"),
        ("own", "reproduced", "holds"),
        ("own", "not reproduced", "does not hold"),
        ("relocated", "close", "close here"),
        ("relocated", "not reproduced", "does not hold here"),
        ("check", "reproduced", "passed"),
        ("check", "close", "failed"),
        ("own", "undecided", "undecided"),
        ("check", "not run", "not run"),
    ],
)
def test_the_words_of_a_verdict_follow_the_evidence(evidence, verdict, words):
    found = views.badge(evidence, verdict)
    assert found.words == words
    assert found.sign == {"failed": "✗"}.get(words, views.SIGNS[verdict])


def test_what_templates_fill_in_is_escaped():
    claim = claims.load("gcn").claims[0].model_copy(update={"statement": "<b>a & b</b>", "unit": '"<i>"'})
    page = {"file": None, "run": None, "page": ""}
    made = views.markup("recorded", scored=[views.row(claim, {})], checks=[], kinds=["paper"], **page)
    assert "&lt;b&gt;a &amp; b&lt;/b&gt;" in made and "<i>&#34;" not in made and "&lt;i&gt;" in made


def test_no_page_asks_another_host(visits, address):
    asked = {url for visit in visits.values() for url in visit["requests"]}
    assert len(asked) > len(visits)
    assert not [url for url in asked if not url.startswith((address, "data:"))]


def test_phones_show_every_verdict_without_scrolling_sideways(visits):
    chapters = {name: v["verdicts"] for name, v in visits.items() if name.startswith("chapters/")}
    assert chapters and all(chapters.values())
    assert not {name: edges for name, edges in chapters.items() if max(edges) > PHONE["width"]}


def test_laptops_show_every_verdict_without_scrolling_sideways(visits):
    chapters = {name: v["beyond"] for name, v in visits.items() if name.startswith("chapters/")}
    assert chapters and all(chapters.values())
    assert not {name: max(edges) for name, edges in chapters.items() if max(edges) > 0}


@pytest.mark.parametrize("chapter", FOLLOW)
def test_the_first_screen_shows_the_result(browser, address, chapter):
    page = browser.new_page(viewport=DESK)
    page.goto(f"{address}chapters/{chapter}.html", wait_until="networkidle")
    boxes = [page.locator(f".headlines {part}").first.bounding_box() for part in ("[role=img]", "li")]
    page.close()
    ends = [box["y"] + box["height"] for box in boxes]
    assert max(ends) <= DESK["height"], f"picture and first result end at {ends}"


def test_letters_of_pictures_can_be_read_on_phones_and_laptops(visits):
    assert not {name: v["letters"] for name, v in visits.items() if v["letters"]}


def test_console_stays_empty(visits):
    assert not {name: v["messages"] for name, v in visits.items() if v["messages"]}


def test_phones_never_scroll_sideways(visits):
    assert not {name: v["width"] for name, v in visits.items() if v["width"] > PHONE["width"]}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser, address, pages, scheme):
    context, found = browser.new_context(color_scheme=scheme, reduced_motion="reduce"), []  # colours at rest
    for name in pages if scheme == "light" else ["index.html", "running.html", "chapters/gcn.html"]:
        page = context.new_page()
        page.goto(address + name, wait_until="load")
        page.evaluate(AXE)
        for fault in page.evaluate(JUDGED)["violations"]:
            if fault["impact"] in ("serious", "critical"):
                found.append((name, fault["id"], fault["nodes"][0]["html"][:200]))
        page.close()
    context.close()
    assert found == []


def test_formulas_are_set(visits):
    assert sum(v["formulas"] for v in visits.values()) > 0
    assert not {name: (v["unset"], v["faulty"]) for name, v in visits.items() if v["unset"] or v["faulty"]}


def test_formulas_begin_where_scrolling_reaches(visits):
    assert not {name: v["cut"] for name, v in visits.items() if v["cut"]}


@pytest.fixture
def board(browser, address):
    """The scoreboard, opened anew."""
    page = browser.new_page(viewport=DESK)
    page.goto(address + "scoreboard.html", wait_until="networkidle")
    yield page
    page.close()


def choose(page, field: str, value: str) -> None:
    page.locator(f"form.choices [name={field}]").select_option(value)


def test_the_scoreboard_shows_the_claims_one_chooses(board):
    rows = board.locator("#claims-table tbody tr")
    total, shown = rows.count(), board.locator("form.choices output")
    assert shown.inner_text() == f"{total} of {total} shown"
    choose(board, "verdict", "not reproduced")
    found = rows.locator("td:nth-child(2)").all_inner_texts()
    assert 0 < len(found) < total and all(text.startswith("✗") for text in found)
    assert shown.inner_text() == f"{len(found)} of {total} shown"
    choose(board, "chapter", "gcn")
    assert set(rows.evaluate_all("rows => rows.map(row => row.dataset.chapter)")) == {"gcn"}
    choose(board, "verdict", "")
    board.locator("form.choices [name=headline]").check()
    chosen = [claim for claim in claims.load("gcn").claims if claim.headline]
    assert rows.count() == len(chosen) > 1
    board.locator("form.choices [name=q]").fill("Citeseer")
    assert 0 < rows.count() < len(chosen)
    assert all("Citeseer" in text for text in rows.locator("td:nth-child(3)").all_inner_texts())


def test_choices_live_in_the_address_and_survive_a_visit_to_a_chapter(board, address):
    choose(board, "verdict", "not reproduced")
    board.locator("form.choices [name=q]").fill("network")
    kept, rows = board.url, board.locator("#claims-table tbody tr")
    before = rows.all_inner_texts()
    assert kept == address + "scoreboard.html?verdict=not+reproduced&q=network" and before
    rows.locator("a").first.click()
    board.wait_for_url("**/chapters/**")
    board.go_back(wait_until="networkidle")
    assert board.url == kept and rows.all_inner_texts() == before
    assert board.locator("form.choices [name=q]").input_value() == "network"
    board.goto(address + "scoreboard.html?verdict=close&nonsense=1", wait_until="networkidle")
    assert all(text.startswith("≈") for text in rows.locator("td:nth-child(2)").all_inner_texts())


def test_a_heading_sorts_and_stays_in_sight(board):
    claims_now = functools.partial(board.locator("#claims-table tbody td:nth-child(3)").all_inner_texts)
    head, before = board.locator("#claims-table thead th").nth(2), claims_now()
    assert len(set(before)) > 1
    head.click()
    board.wait_for_function(REORDERED, arg=before)
    ascending = claims_now()
    assert head.get_attribute("aria-sort") == "ascending"
    head.locator("[role=button]").press("Enter")
    board.wait_for_function(REORDERED, arg=ascending)
    assert head.get_attribute("aria-sort") == "descending"
    assert sorted(claims_now()) == sorted(before)
    board.locator("#claims-table tbody tr").nth(100).scroll_into_view_if_needed()
    assert 0 <= head.bounding_box()["y"] < 100


def test_claims_stand_in_the_order_of_the_book_and_name_their_chapter_once(board):
    listed = re.findall(r"file: chapters/(\w+)", (ROOT / "_toc.yml").read_text(encoding="utf-8"))
    rows = board.locator("#claims-table tbody tr")
    chapters = rows.evaluate_all("rows => rows.map(row => row.dataset.chapter)")
    assert list(dict.fromkeys(chapters)) == listed
    assert rows.evaluate_all("rows => rows.filter(row => !row.matches('.same-chapter')).length") == len(listed)


def test_the_front_page_says_what_the_book_is_in_one_screen(browser, address):
    page = browser.new_page(viewport=DESK)
    page.goto(address + "index.html", wait_until="networkidle")
    boxes = [page.locator(part).first.bounding_box() for part in (".headlines [role=img]", ".total", ".doors")]
    links = page.locator(".doors a").evaluate_all("links => links.map(link => link.getAttribute('href'))")
    cards = page.locator("ol.gallery li").count()
    page.close()
    assert max(box["y"] + box["height"] for box in boxes) <= DESK["height"]
    assert links == ["chapters/gcn.html", "running.html", "scoreboard.html"]
    assert cards == len(claims.chapters())


def test_the_bar_counts_every_scored_claim_and_opens_them(soups):
    parts = soups["index"].select(".total-bar a")
    counts = {part["title"].partition(" ")[2]: int(part["title"].partition(" ")[0]) for part in parts}
    rows = soups["scoreboard"].select("#claims-table tbody tr")
    assert counts == dict(Counter(row["data-verdict"] for row in rows))
    assert all(part["href"].startswith("scoreboard.html?verdict=") for part in parts)


def test_every_chapter_has_a_card_with_its_picture_and_a_line_of_result(site, soups):
    for card in soups["index"].select("ol.gallery li"):
        assert (site / card.select_one("img")["src"]).stat().st_size < 100_000
        assert card.select_one(".says").get_text() and card.select_one(".result .badge"), card.get_text()
    assert set(yaml.safe_load((ROOT / "data/gallery.yml").read_text(encoding="utf-8"))) == set(claims.chapters())


def test_a_picture_of_the_gallery_that_is_not_there_is_an_error():
    with pytest.raises(claims.ClaimError, match="no picture 'c99'"):
        front.picture("gcn", "c99")


def test_no_idea_descends_from_a_later_one():
    ideas = {idea["chapter"]: idea for idea in yaml.safe_load((ROOT / "data/ideas.yml").read_text(encoding="utf-8"))}
    for idea in ideas.values():
        assert all(ideas[name]["year"] <= idea["year"] for name in idea.get("from", [])), idea


def test_only_pages_with_sortable_tables_load_their_scripts(pages):
    loading = {name for name, page in pages.items() if any("dataTables" in link for link in page.links)}
    assert {"scoreboard.html", "running.html"} <= loading and not loading & {"index.html", "chapters/gcn.html"}


def test_style_sheets_of_cells_and_cards_are_where_cells_and_cards_are(soups):
    for name, soup in soups.items():
        linked = " ".join(link["href"] for link in soup.select("link[rel=stylesheet]"))
        body = soup.select_one("main")
        for sheet, classes in (("mystnb", "[class*=cell]"), ("sphinx-design", "[class^=sd-], [class*=' sd-']")):
            assert (sheet in linked) == bool(body.select(classes)), (name, sheet)


def test_pages_without_contents_on_the_right_use_that_room(soups):
    """By a style sheet of their own: a rule that looks for the contents would hold until the browser has read them."""
    for name, soup in soups.items():
        wide = bool(soup.select("link[href*='wide.css']"))
        assert wide != bool(soup.select("#pst-secondary-sidebar")), name


@functools.cache
def sent(path: Path) -> int:
    """Bytes of a file as hosts send it: text compressed, pictures and fonts as they are."""
    content = path.read_bytes()
    return len(gzip.compress(content)) if path.suffix in {".html", ".css", ".js", ".json", ".svg"} else len(content)


def test_a_visit_loads_what_the_page_needs(site, address, visits):
    """Explorable figures apart, whose scripts are loaded when the figure comes near the window."""
    for name, visit in visits.items():
        files = {site / unquote(urlsplit(url).path).lstrip("/") for url in visit["requests"] if url.startswith(address)}
        files = {path for path in files if path.is_file() and path.name != "vega.js"}
        weight = sum(path.stat().st_size for path in files)
        formulas = any("mathjax" in url for url in visit["requests"])
        assert weight <= HEAVIEST[formulas], f"{name}: {weight} bytes, {len(files)} requests"
        compressed = sum(map(sent, files))
        assert compressed <= 1_000_000, f"{name}: {compressed} bytes as hosts send them"
    with_math = {name for name, v in visits.items() if any("mathjax" in url for url in v["requests"])}
    assert "chapters/gcn.html" in with_math and not with_math & {"index.html", "scoreboard.html", "running.html"}
    assert not [url for v in visits.values() for url in v["requests"] if "fontawesome" in url]


@pytest.mark.parametrize("name", ["index", "scoreboard", "chapters/gcn", "chapters/transformers_are_gnns", "running"])
def test_a_page_stands_soon_and_stands_still(browser, address, name):
    """First contentful paint and cumulative layout shift, within what Lighthouse calls slow (3 s) and good (0.1)."""
    context = browser.new_context(viewport=LAPTOP)
    context.add_init_script(SHIFTS)
    page = context.new_page()
    page.goto(f"{address}{name}.html", wait_until="networkidle")
    painted = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    moved = page.evaluate("window.shifts")
    context.close()
    assert painted < 3000, f"first contentful paint after {painted:.0f} ms"
    assert moved < 0.1, f"cumulative layout shift {moved:.3f}"


def test_pictures_of_chapters_wait_until_they_are_near_and_keep_their_place(site, soups, visits):
    found = 0
    for name, soup in soups.items():
        for image in soup.select("img[src*='_images/']"):
            found += 1
            assert image["loading"] == "lazy", name
            with Image.open(site / "_images" / image["src"].split("_images/")[1]) as picture:
                assert (int(image["width"]), int(image["height"])) == picture.size, name
    assert found > 50
    asked = [url for url in visits["chapters/gcn.html"]["requests"] if "/_images/" in url]
    assert len(asked) < len(soups["gcn"].select("img[src*='_images/']"))


def test_every_icon_of_the_theme_is_drawn(site, pages):
    sheet = (site / "_static/icons.css").read_text(encoding="utf-8")
    used = {name for page in pages for name in icons.USED.findall((site / page).read_text(encoding="utf-8"))}
    assert len(used) > 10
    assert not [name for name in used - icons.NO_ICONS if f".fa-{name} {{" not in sheet]
    with pytest.raises(ValueError, match="no icon 'nonsense'"):
        icons.definition('{bars:[1,2,[],"f","M0"]}', "nonsense")


def test_every_page_says_what_it_is_about(soups):
    for name in ("index", *claims.chapters()):
        said = soups[name].select_one("meta[name=description]")["content"]
        assert 40 < len(said) <= 200 and soups[name].select_one("meta[property='og:title']")["content"]


def test_a_site_with_an_address_has_a_sitemap_and_pictures_for_shared_links(site, tmp_path):
    app = SimpleNamespace(outdir=str(site), config=SimpleNamespace(html_baseurl="https://x.org/b/", html_title="Book"))
    made = head.tags(app, "chapters/gcn", "A <b>", 'says "so"')
    assert '<meta property="og:url" content="https://x.org/b/chapters/gcn.html">' in made
    assert '<meta property="og:image" content="https://x.org/b/_static/thumbnails/gcn.png">' in made
    assert "says &quot;so&quot;" in made and "A &lt;b&gt;" in made
    app.outdir, app.builder = str(tmp_path), SimpleNamespace(format="html")
    app.env = SimpleNamespace(found_docs={"index", "chapters/gcn"})
    head.write_sitemap(app, None)
    assert "<loc>https://x.org/b/chapters/gcn.html</loc>" in (tmp_path / "sitemap.xml").read_text(encoding="utf-8")


def test_chapters_of_a_book_with_an_address_open_in_colab_by_one_click():
    with_address = views.markup("how_to_run", running="r", source="s", colab="https://colab.example/x")
    assert 'href="https://colab.example/x">open it in Colab' in with_address
    assert "Colab" not in views.markup("how_to_run", running="r", source="s", colab="")


def test_an_address_that_is_not_there_gets_a_page(site):
    assert "Not here" in (site / "404.html").read_text(encoding="utf-8")


def test_no_table_shows_an_empty_heading(soups):
    for name, soup in soups.items():
        assert not [row for row in soup.select("article thead tr") if not row.get_text().strip()], name


def test_every_explorable_figure_is_listed_and_can_be_linked_to(soups):
    listed = {link["href"] for link in soups["explorables"].select("ol.explorables a")}
    figures = {
        f"chapters/{name}.html#{figure['id']}"
        for name in claims.chapters()
        for figure in soups[name].select(".explorable")
    }
    gallery = yaml.safe_load(front.GALLERY.read_text(encoding="utf-8"))
    own = {name: texts["at"] for name, texts in gallery.items() if "at" in texts}
    assert all(soups[name].find(id=place) for name, place in own.items())
    figures |= {f"chapters/{name}.html#{place}" for name, place in own.items()}
    assert len(own) >= 1 and len(listed) >= 12 and listed == figures


def test_a_page_says_when_it_changed_last(soups, tmp_path):
    day = subprocess.run(
        ["git", "log", "-1", "--format=%cs, commit %h", "--", "chapters/gcn.ipynb"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    ).stdout
    assert day.strip() and f"Last updated on {day.strip()}." in " ".join(
        soups["gcn"].select_one("footer.bd-footer-content").get_text().split()
    )
    assert head.last_change(tmp_path / "not-there.md") is None


def test_no_line_of_code_is_cut_on_a_laptop(browser, address):
    page = browser.new_page(viewport=SMALL_DESK)
    for name in claims.chapters():
        page.goto(f"{address}chapters/{name}.html")
        assert page.evaluate(CUT_CODE) == [], name
    page.close()


@pytest.mark.parametrize("chapter", FOLLOW)
def test_no_stretch_is_longer_than_six_screens_without_something_to_look_at(browser, address, chapter):
    page = browser.new_page(viewport=DESK)
    page.goto(f"{address}chapters/{chapter}.html", wait_until="networkidle")
    assert page.evaluate(LONGEST_STRETCH) <= 6
    page.close()


def test_a_figure_opens_in_full_size_and_closes(browser, address):
    page = browser.new_page(viewport=DESK)
    page.goto(f"{address}chapters/gcn.html", wait_until="networkidle")
    button = page.locator("button.enlarge").first
    button.wait_for(timeout=120_000)  # its script runs after that of the formulas, which is slow on a busy machine
    before = button.bounding_box()["width"]
    button.focus()
    page.keyboard.press("Enter")
    full = page.locator("dialog.full-size[open] img")
    full.wait_for()
    assert full.bounding_box()["width"] > before and full.get_attribute("alt") == button.locator("img").get_attribute(
        "alt"
    )
    page.keyboard.press("Escape")
    full.wait_for(state="hidden")
    button.click()
    full.click()
    full.wait_for(state="hidden")
    page.close()


@pytest.mark.parametrize("term", ["注意力", "池化", "over-smoothing"])
def test_search_finds_a_term_wherever_it_stands(browser, address, site, term):
    page = browser.new_page()
    page.goto(f"{address}search.html?q={term}", wait_until="networkidle")
    page.locator("#search-results li").first.wait_for()
    links = page.locator("#search-results li > a").evaluate_all("links => links.map(link => link.pathname)")
    page.close()
    found = {link.lstrip("/") for link in links}
    bodies = {
        path: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser") for path in site.glob("chapters/*.html")
    }
    wanted = {
        path.relative_to(site).as_posix()
        for path, soup in bodies.items()
        if term in soup.select_one("article").get_text()
    }
    assert wanted and wanted <= found


def test_the_book_prints_into_one_pdf_with_sources_unfolded(browser, site, tmp_path):
    out = tmp_path / "book.pdf"
    code = "from pathlib import Path; from utils.tools import pdf; pages = ['index.html', 'chapters/gcn.html']\n"
    code += f"print(pdf.print_pages(pages, Path({str(out)!r}), Path({str(site)!r})))"
    environment = os.environ | {"CHROMIUM": chromium()}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    book = pypdf.PdfReader(out)
    assert len(book.pages) == int(done.stdout) > 20
    titles = [re.sub(r"^\d+\. ", "", item.title) for item in book.outline]
    assert titles == ["Paper Walkthroughs", "Graph convolutional networks"]
    text = "".join(page.extract_text() for page in book.pages)
    assert "Table 2, row GCN (this paper)" in text  # the source of a claim
    assert "make book" in str(pytest.raises(SystemExit, pdf.print_pages, ["nowhere.html"], out, site).value)
    assert pdf.contents()[0] == "index.html" and "chapters/gcn.html" in pdf.contents()


def test_style_sheets_lose_comments_and_nothing_else():
    sheet = "/*! MIT */\na {\n    content: \"/* no */\";\n}\n/* why\n */\nb { background: url('x/*y*/'); }\n"
    wanted = "/*! MIT */\na {\ncontent: \"/* no */\";\n}\nb { background: url('x/*y*/'); }\n"
    assert assets.without_comments(sheet) == wanted


def test_no_style_sheet_of_the_site_has_comments(site):
    for path in (site / "_static").rglob("*.css"):
        text = path.read_text(encoding="utf-8")
        assert assets.without_comments(text) == text, path
