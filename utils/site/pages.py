"""What the site adds to every chapter: links to the glossary, how to cite it; and a table of running times."""

import re

from book import ROOT, link, recorded_runs, table, text
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from utils import claims

UNTOUCHED = (nodes.reference, nodes.literal, nodes.math, nodes.title, nodes.table, nodes.raw)
GIB = 2**30


def glossary() -> dict[str, str]:
    """The terms of glossary.md and their meanings, longest terms first, so that none hides inside a longer one."""
    rows = re.findall(r"^\| (\w.+?) \|.*\| (.+?) \|$", (ROOT / "glossary.md").read_text(encoding="utf-8"), re.M)
    found = {term: meaning for term, meaning in rows if (term, meaning) != ("Term", "Meaning")}
    return dict(sorted(found.items(), key=lambda pair: -len(pair[0])))


def anchor(term: str) -> str:
    return f"term-{nodes.make_id(term)}"


def name_terms(doctree: nodes.document) -> None:
    """Give each row of the glossary the id that links lead to."""
    terms = glossary()
    for row in doctree.findall(nodes.row):
        if (term := row[0].astext()) in terms:
            row["ids"].append(anchor(term))


def link_terms(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Link the first mention of each term in the prose of a chapter to the glossary."""
    target = app.builder.get_relative_uri(docname, "glossary")
    waiting = glossary()
    for paragraph in list(doctree.findall(nodes.paragraph)):
        for term in list(waiting):
            if link_first(paragraph, term, waiting[term], target):
                del waiting[term]


def untouched(node: nodes.Node) -> bool:
    """Whether the node stands in code, a formula, a link, a table, or among the references."""
    while (node := node.parent) is not None:
        if isinstance(node, UNTOUCHED) or (isinstance(node, nodes.section) and node[0].astext() == "References"):
            return True
    return False


def link_first(paragraph: nodes.paragraph, term: str, meaning: str, target: str) -> bool:
    """Whether the term stood in the plain text of the paragraph; its first mention is now a link."""
    pattern = re.compile(rf"(?<![\w-]){re.escape(term)}(?:s|es)?(?![\w-])", re.I)
    for piece in list(paragraph.findall(nodes.Text)):
        if (match := pattern.search(piece)) and not untouched(piece):
            before, word, after = piece[: match.start()], match.group(), piece[match.end() :]
            reference = nodes.reference("", word, internal=True, refuri=f"{target}#{anchor(term)}", classes=["term"])
            reference["reftitle"] = re.sub(r"[$*`]", "", meaning)
            around = [nodes.Text(before), reference, nodes.Text(after)]
            piece.parent.replace(piece, [node for node in around if node.astext()])
            return True
    return False


SCROLLS = re.compile(r'<div (?=style="[^"]*overflow-x:auto)')


def let_keyboards_scroll(doctree: nodes.document) -> None:
    """Boxes that scroll sideways in the HTML outputs of chapters can be reached with the keyboard."""
    for output in list(doctree.findall(nodes.raw)):
        if SCROLLS.search(output.astext()):
            output.children = [nodes.Text(SCROLLS.sub('<div tabindex="0" ', output.astext()))]


def cite_box(app: Sphinx, chapter: str, docname: str) -> nodes.raw:
    """A folded BibTeX entry of the chapter, and where its paper stands."""
    file = claims.load(chapter)
    entry = {
        "author": "{The Paper Walkthroughs authors}",
        "title": file.title,
        "howpublished": "Paper Walkthroughs",
        "url": app.config.html_theme_options.get("repository_url", ""),
        "year": max((run["provenance"]["date"][:4] for run in recorded_runs(chapter)), default=""),
    }
    key = f"paperwalkthroughs-{chapter.replace('_', '-')}"
    lines = "\n".join(f"  {name:12} = {{{value}}}," for name, value in entry.items() if value)
    papers = link(app.builder.get_relative_uri(docname, "bibliography"), "the bibliography")
    box = (
        '<details class="cite"><summary>Cite this chapter</summary>'
        f"<pre>@misc{{{key},\n{text(lines)}\n}}</pre><p>Please cite the paper as well: see {papers}.</p></details>"
    )
    return nodes.raw("", box, format="html")


def finish_page(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    if docname == "glossary":
        name_terms(doctree)
    if docname.startswith("chapters/"):
        link_terms(app, doctree, docname)
        let_keyboards_scroll(doctree)
        first = next(doctree.findall(nodes.section))
        first += cite_box(app, docname.removeprefix("chapters/"), docname)


def mend_citations(
    app: Sphinx, pagename: str, templatename: str, context: dict, doctree: nodes.document | None
) -> None:
    """Sphinx marks the bibliography as a list whose children are not list items; screen readers stumble over it."""
    context["body"] = context.get("body", "").replace('role="list" class="citation-list"', 'class="citation-list"')


class RunTimes(SphinxDirective):
    """How long the recorded run of each chapter took, and the memory that it needed."""

    def run(self) -> list[nodes.Node]:
        runs = [run for chapter in claims.chapters() for run in recorded_runs(chapter)]
        longest = max((run["provenance"]["wall_seconds"] for run in runs), default=1)
        rows = []
        for run in runs:
            made = run["provenance"]
            seconds, memory, device = made["wall_seconds"], made["peak_memory_bytes"] / GIB, made["device"]
            title = link(f"chapters/{run['chapter']}.html", claims.load(run["chapter"]).title)
            bar = f'<span class="bar" style="width: {6 * seconds / longest:.2f}rem"></span>'
            cells = [
                f"<td>{title}</td>",
                f"<td>{run['profile']}</td>",
                f'<td data-sort="{seconds}">{bar}&nbsp;{seconds / 60:.1f}</td>',
                f'<td data-sort="{memory}">{memory:.1f}</td>',
                f'<td title="{text(device)}">{text(device.split(",")[0])}</td>',
                f"<td>{made['date']}</td>",
            ]
            rows.append(f"<tr>{''.join(cells)}</tr>")
        columns = ["Chapter", "Profile", "Minutes", "Memory, GiB", "Device", "Date"]
        return [nodes.raw("", table("Running times", columns, rows), format="html")]


def setup(app: Sphinx) -> dict:
    app.add_directive("run-times", RunTimes)
    app.connect("doctree-resolved", finish_page)
    app.connect("html-page-context", mend_citations)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
