"""The picture of a chapter's headline claims: scales, ticks, and what is drawn of real and of made-up claims."""

from __future__ import annotations

import itertools
import re
import struct
import zlib

import pytest
from bs4 import BeautifulSoup
from conftest import SAMPLE_CLAIM

from utils import ROOT
from utils.records import claims, runs, verdicts
from utils.records.claims import Claim
from utils.site import chart, pictures, views

BASE = SAMPLE_CLAIM | {
    "id": "cora-accuracy",
    "headline": True,
    "tuning": "as the model",
    "controls": [{"id": "no-edges", "statement": "without edges"}],
}
RECORDS = {"cora-accuracy": [79.0, 80.0, 81.5], "cora-accuracy/no-edges": [50.0]}
STYLE = (ROOT / "_static" / "book.css").read_text(encoding="utf-8")


def claim(**changes) -> Claim:
    return Claim.model_validate({**BASE, **changes})


def draw(*chosen: Claim, records=None) -> chart.Chart | None:
    records = RECORDS if records is None else records
    return chart.draw([views.row(one, records) for one in chosen], records)


def only(drawn: chart.Chart | None) -> chart.Line:
    """The only line of a picture."""
    assert drawn is not None
    ((line,),) = (group.lines for group in drawn.groups)
    return line


def kinds(line: chart.Line) -> list[str]:
    return [mark.kind for mark in line.marks]


@pytest.fixture(scope="module")
def book() -> dict[str, chart.Chart]:
    """The pictures of all chapters."""
    found = {}
    for name in claims.chapters():
        run = runs.leading(name)
        rows = [row for row in views.rows(claims.load(name), run)[0] if row.claim.headline]
        found[name] = chart.draw(rows, run.records if run else {})
    return {name: drawn for name, drawn in found.items() if drawn}


@pytest.mark.parametrize("low", [-1013.0, -0.07, 0.0, 0.00068, 27.48, 93.2])
@pytest.mark.parametrize("length", [0.0173, 1.0, 3.3, 55.0, 1100.0])
def test_ticks_are_round_and_few_and_lie_on_the_axis(low, length):
    found = chart.ticks(low, low + length)
    assert 2 <= len(found) <= chart.TICKS
    step = float(f"{found[1] - found[0]:.0e}")
    assert f"{step:.0e}"[0] in "125" and found[1] - found[0] == pytest.approx(step)
    for value in found:
        assert value / step == pytest.approx(round(value / step), abs=1e-6)
        assert low - 1e-6 * length <= value <= low + length * (1 + 1e-6)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([-20.0, 0.0, 20.0], ["−20", "0", "20"]),
        ([93.5, 94.0, 94.5], ["93.5", "94.0", "94.5"]),
        ([-0.05, 1e-18, 0.05], ["−0.05", "0", "0.05"]),
        ([500.0, 1000.0], ["500", "1000"]),
    ],
)
def test_ticks_have_the_digits_of_their_step(values, words):
    assert chart.written(values) == words


def test_a_scale_puts_its_ends_just_inside_the_plot_and_has_room_for_a_single_value():
    scale = chart.scale([3.0, 7.0, 5.0])
    assert (scale(3.0), scale(5.0), scale(7.0)) == (chart.EDGE, 50.0, 100 - chart.EDGE)
    assert chart.scale([4.0, 4.0])(4.0) == pytest.approx(50.0)
    assert chart.scale([0.0])(0.0) == 50.0


def test_a_row_shows_paper_control_band_and_the_interval_of_the_verdict():
    one = claim()
    line = only(draw(one))
    low, high = verdicts.interval(one, RECORDS[one.id])
    scale = chart.scale([50.0, 79.0, 80.0, 81.0, low, high])
    assert line.label == "cora accuracy"
    assert {mark.kind: mark.x for mark in line.marks} == pytest.approx(
        {"control": scale(50.0), "paper": scale(80.0), "here": scale(80.1667)}, abs=1e-3
    )
    assert line.interval == pytest.approx((scale(low), scale(high)))
    assert line.band.edges == pytest.approx((scale(79.0), scale(81.0))) == (line.band.left, line.band.right)
    assert [name.text for name in line.names] == ["no edges"]


def test_short_names_are_used_where_a_claim_has_them():
    controls = [{"id": "mlp", "statement": "without edges", "short": "no edges at all"}]
    drawn = draw(claim(short="Cora, test accuracy", controls=controls), records={**RECORDS, "cora-accuracy/mlp": [9.0]})
    assert only(drawn).label == "Cora, test accuracy" and only(drawn).names[0].text == "no edges at all"
    assert "Cora, test accuracy: paper 80.0 %, here 80.2 ± 1.3 %" in drawn.label
    assert "control no edges at all 9.0 %" in drawn.label


@pytest.mark.parametrize("long", ["Cora, accuracy on test papers", "C"])
def test_short_names_are_short(long):
    with pytest.raises(ValueError, match="short"):
        claim(short=long)


def test_few_values_and_certain_claims_have_no_interval():
    assert only(draw(claim(), records={"cora-accuracy": [79.0, 80.0]})).interval is None
    assert only(draw(claim(deterministic=True))).interval is None
    assert "interval" not in draw(claim(), records={"cora-accuracy": [79.0]}).kinds


@pytest.mark.parametrize(
    ("changes", "records", "words"),
    [
        ({}, {}, "Not run: cora accuracy."),
        ({}, {"cora-accuracy/no-edges": [50.0]}, "Not run: cora accuracy."),
        ({"kind": "exact"}, RECORDS, "No mark: cora accuracy (80.2 %)."),
        ({"kind": "trend", "paper": 1.0}, {"cora-accuracy": [[1, 1], [2, 2], [4, 4]]}, "No mark: cora accuracy (slope"),
    ],
)
def test_what_has_no_place_on_an_axis_is_said_in_words(changes, records, words):
    assert draw(claim(**changes), records=records) is None
    drawn = draw(claim(**changes), claim(id="other"), records={**records, "other": [1.0, 2.0, 3.0]})
    assert [line.label for group in drawn.groups for line in group.lines] == ["other"]
    assert drawn.silent[0].startswith(words)


def test_a_bound_is_open_at_one_end():
    least, most = only(draw(claim(kind="at least"))), only(draw(claim(kind="at most")))
    assert least.band.right == 100.0 and least.band.edges == (least.band.left,)
    assert most.band.left == 0.0 and most.band.edges == (most.band.right,)


def test_an_order_is_drawn_as_a_margin_with_a_line_at_nothing():
    drawn = draw(claim(kind="ordering", paper=None, unit=""))
    assert drawn.groups[0].zero == drawn.groups[0].lines[0].band.left
    assert drawn.groups[0].unit == "difference"
    assert kinds(only(drawn)) == ["control", "here"]


def test_numbers_of_a_paper_on_other_data_are_told_apart_and_expectations_are_no_papers():
    assert "elsewhere" in kinds(only(draw(claim(evidence="relocated"))))
    own = draw(claim(evidence="own", paper=None, target=80.0))
    assert kinds(only(own)) == ["control", "here"] and "paper" not in own.label


def test_claims_share_an_axis_if_they_share_their_unit():
    many = {name: [1.0, 2.0, 3.0] for name in "abcdef"}
    drawn = draw(
        claim(id="a"),
        claim(id="b", unit="points"),
        claim(id="c", kind="at least"),
        claim(id="d", unit=""),
        claim(id="e", unit="", kind="at least"),
        claim(id="f", kind="ordering", paper=None),
        records=many,
    )
    shared = {group.unit: [line.label for line in group.lines] for group in drawn.groups if group.unit}
    assert shared == {"in %": ["a", "c"], "in points": ["b"], "difference in %": ["f"]}
    assert [[line.label for line in group.lines] for group in drawn.groups if not group.unit] == [["d"], ["e"]]


def test_names_of_controls_keep_clear_of_marks():
    beside = chart.Mark("control", 50.0, ""), chart.Mark("here", 60.0, "")
    (name,) = chart.names(beside, ["no edges"], [])
    assert (name.side, name.plots) == ("left", ("narrow", "wide"))
    between = chart.Mark("control", 20.0, ""), chart.Mark("here", 40.0, "")
    (name,) = chart.names(between, ["no edges"], [])
    assert (name.side, name.plots) == ("right", ("wide",))
    assert chart.names(between, ["no edges"], [(15.0, 15.0), (25.0, 25.0)]) == ()


# --- the chapters ---


def test_nearly_every_chapter_has_a_picture(book):
    assert len(book) >= len(claims.chapters()) - 1


def test_nothing_lies_outside_its_plot(book):
    for name, drawn in book.items():
        for group in drawn.groups:
            places = [x for x, _ in group.ticks] + ([] if group.zero is None else [group.zero])
            for line in group.lines:
                places += [mark.x for mark in line.marks] + [*(line.interval or ())]
                places += [line.band.left, line.band.right, *line.band.edges]
                assert line.band.left < line.band.right
            assert all(-1e-9 <= place <= 100 + 1e-9 for place in places), name


def test_letters_never_overlap(book):
    for name, drawn in book.items():
        for group in drawn.groups:
            assert len(group.ticks) >= 2, name
            for (a, one), (b, other) in itertools.pairwise(group.ticks):
                room = (b - a) / 100 * chart.PLOTS["narrow"]
                assert room > chart.LETTER * (len(one) + len(other)) / 2, f"{name}: {one} and {other}"
            for line, (plot, width) in itertools.product(group.lines, chart.PLOTS.items()):
                spans = sorted(found.span(width) for found in line.names if plot in found.plots)
                assert all(one[1] <= other[0] for one, other in itertools.pairwise(spans)), f"{name}: {line.label}"
                for left, right in spans:
                    assert left >= -chart.MARK["control"] and right <= width + chart.MARK["control"]
                    here = [mark.x * width / 100 for mark in line.marks if mark.kind != "control"]
                    assert not [x for x in here if left < x < right], f"{name}: {line.label}"


def test_names_of_rows_fit_beside_the_plot(book):
    for name, drawn in book.items():
        long = [line.label for group in drawn.groups for line in group.lines if len(line.label) > 28]
        assert not long, f"{name}: give these claims a `short` name: {long}"


def test_the_picture_tells_in_words_what_it_draws(book):
    for name, drawn in book.items():
        file = claims.load(name)
        labels = [line.label for group in drawn.groups for line in group.lines]
        assert all(f"{label}: " in drawn.label for label in labels)
        shown = sum(len(group.lines) for group in drawn.groups)
        silent = " ".join(drawn.silent)
        for one in (c for c in file.claims if c.headline):
            assert one.label in labels or one.label in silent, f"{name}: {one.id}"
        assert f"Dot chart of {shown} headline claim" in drawn.label


def test_the_template_draws_every_mark_and_escapes_what_it_fills_in():
    row = views.row(claim(short="<b> & co", controls=[{"id": "no-edges", "statement": "<i>none</i>"}]), RECORDS)
    page = BeautifulSoup(views.markup("headline_chart", chart=chart.draw([row], RECORDS)), "html.parser")
    picture = page.select_one("[role=img]")
    assert picture["aria-label"].startswith("Dot chart of 1 headline claim. <b> & co: paper 80.0 %")
    assert page.select_one(".name").get_text() == "<b> & co" and not page.select("b, i")
    assert len(picture.select(".here circle, .control circle, .paper path, rect.band, line.interval")) == 5
    assert [title.get_text() for title in picture.select("title")][0] == "control, <i>none</i>: 50.0 %"
    assert {key.get_text().strip() for key in page.select(".key")} == {
        "paper",
        "here, with 95 % interval",
        "control",
        "accepted",
    }


# --- colours, and the pictures that chapters draw ---


def luminance(colour: str) -> float:
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize(("theme", "ground"), [("html", "#ffffff"), ('html[data-theme="dark"]', "#121212")])
def test_marks_stand_out_from_the_page_and_from_the_band(theme, ground):
    blocks = re.findall(rf"^{re.escape(theme)} \{{(.*?)\}}", STYLE, re.S | re.M)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", " ".join(blocks)))
    for mark in ("measured", "paper-mark", "control-mark", "accepted-edge"):
        for behind in (ground, colours["accepted"]):
            light, dark = sorted((luminance(colours[mark]), luminance(behind)), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 3, f"{mark} on {behind}"


def test_a_picture_says_how_wide_it_was_drawn(tmp_path):
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 1400, 600, 8, 6, 0, 0, 0))
    path = tmp_path / "picture.png"
    path.write_bytes(head + chunk(b"pHYs", struct.pack(">IIB", 7874, 7874, 1)))
    assert pictures.inches(path) == pytest.approx(7, abs=0.01)
    path.write_bytes(head)
    assert pictures.inches(path) is None


def test_figures_have_no_ground_and_many_pixels():
    matplotlib = pytest.importorskip("matplotlib")
    style = matplotlib.rc_params_from_file(ROOT / "utils" / "notebook" / "plots.mplstyle", use_default_template=False)
    grounds = ("figure.facecolor", "axes.facecolor", "savefig.facecolor")
    assert {style[name] for name in grounds} == {"none"} and style["figure.dpi"] == 200
