"""Explorable figures: what a notebook stores of them, and what a browser makes of a page that holds one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import altair
import nbformat
import pytest
import test_site
import yaml
from bs4 import BeautifulSoup

from utils import ROOT, notebook
from utils.notebook import explorables
from utils.notebook.plots import COLOURS

address, browser = test_site.address, test_site.browser  # fixtures: the folder `site` served, Chromium
ALT = 'Two lines over x, "a" & <b>, which bend the more the higher the power is that the slider sets.'


def chart(**settings):
    """Two lines whose bend a slider sets."""
    power = altair.param(name="power", value=2, bind=altair.binding_range(min=1, max=4, step=1, name="Power of x "))
    rows = [{"x": x, "line": line} for line in ("a", "</script>b") for x in range(6)]
    lines = altair.Chart(altair.Data(values=rows)).mark_line(clip=True, point=True)
    lines = lines.transform_calculate(y="pow(datum.x, power) * (datum.line == 'a' ? 1 : 2)")
    title = altair.Title("Powers")
    encoding = {"x": "x:Q", "y": altair.Y("y:Q", title="value"), "color": "line:N"}
    return lines.encode(**encoding).add_params(power).properties(width=560, height=220, title=title, **settings)


def stored(figure, monkeypatch) -> dict:
    monkeypatch.setenv("WALKTHROUGHS_QUIET", "1")
    return figure._repr_mimebundle_()


def parsed(markup: str):
    """The figure, its picture and its specification."""
    figure = BeautifulSoup(markup, "html.parser").select_one("figure.explorable")
    return figure, figure.select_one("img"), json.loads(figure.select_one("script").string)


# --- what a notebook stores ---


def test_the_html_holds_the_specification_a_picture_and_the_alternative_text(monkeypatch):
    made = notebook.explorable(chart(), ALT)
    figure, picture, spec = parsed(stored(made, monkeypatch)["text/html"])
    assert spec == made.spec
    assert spec["params"][0]["bind"]["input"] == "range"
    assert picture["alt"] == spec["description"] == ALT
    svg = unquote(picture["src"].removeprefix("data:image/svg+xml,"))
    drawn = ElementTree.fromstring(svg)
    assert drawn.get("width") == picture["width"] and drawn.get("height") == picture["height"]
    assert "Powers" in "".join(drawn.itertext())
    assert figure.select_one("script")["type"] == "application/json"


def test_the_alternative_text_and_the_texts_of_the_chart_are_escaped():
    class Tags(HTMLParser):
        def __init__(self, markup: str) -> None:
            super().__init__()
            self.seen: list[str] = []
            self.feed(markup)

        def handle_starttag(self, tag: str, attrs: list) -> None:
            self.seen.append(tag)

    markup = notebook.explorable(chart(), ALT).markup
    assert Tags(markup).seen == ["figure", "img", "script"]
    assert markup.count("</script>") == 1


@pytest.mark.parametrize("alt", ["", "Two lines.", "Two lines.".ljust(60)])
def test_a_short_alternative_text_is_refused(alt):
    with pytest.raises(ValueError, match="alternative text has .* at least 40"):
        notebook.explorable(chart(), alt)


def test_equal_charts_give_equal_bytes():
    one, two = (notebook.explorable(chart(), ALT).markup for _ in range(2))
    assert one == two
    command = [
        sys.executable,
        "-c",
        "import test_explorable as t; print(t.notebook.explorable(t.chart(), t.ALT).markup)",
    ]
    paths = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **paths}, check=True)
    assert done.stdout == one + "\n"


def test_the_look_is_the_books_unless_the_chart_says_otherwise():
    plain = notebook.explorable(chart(), ALT).spec["config"]
    assert plain["range"]["category"] == list(COLOURS) and plain["background"] == "transparent"
    own = chart().configure(background="white").configure_axis(grid=False)
    own = notebook.explorable(own, ALT).spec["config"]
    assert own["background"] == "white" and own["axis"] == {"grid": False}
    assert own["range"]["category"] == list(COLOURS)
    assert explorables.LOOK["background"] == "transparent"


def test_on_colab_and_without_the_renderer_the_chart_itself_is_shown(monkeypatch):
    made = chart()
    monkeypatch.setattr(explorables.importlib.util, "find_spec", lambda name: None)
    assert notebook.explorable(made, ALT) is made
    monkeypatch.undo()
    assert notebook.explorable(made, ALT) is not made
    monkeypatch.setitem(sys.modules, "google.colab", None)
    assert notebook.explorable(made, ALT) is made
    with pytest.raises(ValueError, match="alternative text"):
        notebook.explorable(made, "short")


def test_stored_outputs_are_figures_and_others_are_charts(monkeypatch):
    figure = notebook.explorable(chart(), ALT)
    monkeypatch.delenv("WALKTHROUGHS_QUIET", raising=False)
    assert figure._repr_mimebundle_() == {explorables.MIME_TYPE: figure.spec, "text/plain": repr(figure)}
    assert stored(figure, monkeypatch) == {"text/html": figure.markup, "text/plain": repr(figure)}
    assert ALT in repr(figure)


def test_what_a_page_cannot_show_is_refused():
    with pytest.raises(ValueError, match="from an address"):
        notebook.explorable(chart(data=altair.UrlData("https://example.org/rows.csv")), ALT)
    nameless = altair.param(name="n", value=1, bind=altair.binding_range(min=1, max=2))
    with pytest.raises(ValueError, match=r"\(range\) has no name"):
        notebook.explorable(chart().add_params(nameless), ALT)
    rows = altair.Data(values=[{"x": float("nan"), "url": "a column may be called so", "input": ""}])
    with pytest.raises(ValueError, match="not JSON compliant"):
        notebook.explorable(chart(data=rows), ALT)


# --- a page that holds one ---


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A book of two pages, of which one holds a stored figure, with the settings and the style sheet of the book."""
    root = tmp_path_factory.mktemp("tiny")
    figure = notebook.explorable(chart(), ALT)
    data = {"text/html": figure.markup, "text/plain": repr(figure)}
    page = nbformat.v4.new_notebook(metadata={"language_info": {"name": "python", "pygments_lexer": "ipython3"}})
    page.cells = [
        nbformat.v4.new_markdown_cell("# Lines\n\nText before the figure."),
        nbformat.v4.new_code_cell("draw()", outputs=[nbformat.v4.new_output("execute_result", data=data)]),
        nbformat.v4.new_markdown_cell("Text after it."),
    ]
    nbformat.write(page, root / "lines.ipynb")
    (root / "index.md").write_text("# Front\n\nNo figure.\n", encoding="utf-8")
    toc = {"format": "jb-book", "root": "index", "chapters": [{"file": "lines"}]}
    (root / "_toc.yml").write_text(yaml.safe_dump(toc), encoding="utf-8")
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    others = ("autodoc", "bibtex")  # settings of extensions that this book does without
    settings = {name: value for name, value in config["sphinx"]["config"].items() if not name.startswith(others)}
    config["sphinx"] = {"extra_extensions": ["utils.site.explorables", "utils.site.assets"], "config": settings}
    del config["bibtex_bibfiles"]
    (root / "_config.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (root / "_static").mkdir()
    for name in ("book.css", "favicon.svg"):
        shutil.copy(ROOT / "_static" / name, root / "_static")
    build = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", str(root), "-W", "-q"]
    done = subprocess.run(build, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return root / "_build" / "html"


@pytest.fixture
def opened(browser, address):
    """Opens the page with the figure; what it asked for and what it complained of."""
    contexts, asked, said = [], [], []

    def open_page(**settings):
        context = browser.new_context(viewport={"width": 1000, "height": 900}, **settings)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: said.append(f"error: {error}"))
        page.goto(address + "lines.html", wait_until="networkidle")
        if settings.get("java_script_enabled", True):
            page.wait_for_selector("figure.explorable .drawn svg")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert asked and not [url for url in asked if not url.startswith((address, "data:"))]
    assert not [text for text in said if text.startswith(("error", "warning"))]


def label_colour(page) -> str:
    return page.locator("figure.explorable .role-axis-label text").first.evaluate("e => getComputedStyle(e).fill")


def test_only_a_page_with_a_figure_loads_what_draws_it(site):
    assert "explorable.js" in (site / "lines.html").read_text(encoding="utf-8")
    assert "explorable.js" not in (site / "index.html").read_text(encoding="utf-8")
    assert 500_000 < (site / "_static" / "vega.js").stat().st_size < 2_000_000


def test_the_chart_takes_the_place_of_its_picture(opened):
    page = opened()
    assert page.locator("figure.explorable .drawn svg.marks .mark-line path").count() == 2
    assert not page.locator("figure.explorable > img").is_visible()
    group = page.get_by_role("group", name=ALT)
    assert group.count() == 1 and group.locator("svg").count() == 1
    page.emulate_media(media="print")
    picture = page.locator("figure.explorable > img")
    assert picture.is_visible() and picture.evaluate("e => e.naturalWidth") == int(picture.get_attribute("width"))
    assert not page.locator("figure.explorable .drawn").is_visible()


def test_the_keyboard_moves_the_slider_and_the_marks_follow(opened):
    page = opened()
    slider = page.get_by_label("Power of x")
    line = page.locator("figure.explorable .mark-line path").first
    before = line.get_attribute("d")
    page.keyboard.press("Tab")
    while not slider.evaluate("e => e === document.activeElement"):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement !== document.body"), "the slider cannot be reached"
    assert slider.evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
    page.keyboard.press("ArrowRight")
    page.wait_for_function(
        "before => document.querySelector('.mark-line path').getAttribute('d') !== before", arg=before
    )
    assert slider.input_value() == "3"


def test_labels_follow_the_theme_and_controls_keep_their_values(opened):
    page = opened(color_scheme="light")
    light = label_colour(page)
    page.get_by_label("Power of x").press("ArrowRight")
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    dark = label_colour(page)
    assert light != dark
    assert sum(map(int, dark.strip("rgb()").split(","))) > 450 > sum(map(int, light.strip("rgb()").split(",")))
    assert page.get_by_label("Power of x").input_value() == "3"
    assert label_colour(opened(color_scheme="dark")) == dark


def test_a_phone_shows_the_whole_figure_with_letters_of_full_size(opened):
    page = opened()
    page.set_viewport_size(test_site.PHONE)
    page.wait_for_function("document.querySelector('.drawn svg').getAttribute('width') < 375")
    assert page.evaluate("document.documentElement.scrollWidth") <= test_site.PHONE["width"]
    for part in ("svg", ".vega-bind", "input"):
        edge = page.locator(f"figure.explorable .drawn {part}").first.evaluate("e => e.getBoundingClientRect().right")
        assert edge <= test_site.PHONE["width"], part
    scale = page.locator(".drawn svg").evaluate("e => e.getBoundingClientRect().width / e.viewBox.baseVal.width")
    assert scale > 0.95


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_the_figure(opened, scheme):
    page = opened(color_scheme=scheme)
    page.evaluate(test_site.AXE)
    found = page.evaluate("axe.run('figure.explorable', {resultTypes: ['violations'], preload: false})")["violations"]
    assert [(fault["id"], fault["nodes"][0]["html"][:200]) for fault in found] == []


def test_without_scripts_the_picture_is_shown(opened):
    page = opened(java_script_enabled=False)
    picture = page.get_by_role("img", name=ALT)
    assert picture.is_visible() and picture.bounding_box()["width"] > 300
    assert picture.evaluate("e => e.naturalWidth") > 300
    assert page.locator("figure.explorable svg").count() == 0
