"""Recorded runs in chapters, rendered when the site is built: two directives and two roles.

    ```{headline} gcn```              the headline claims, as a picture and a line each, for the top of a chapter
    ```{recorded-run} gcn```          all claims beside the recorded run, and where that was made
    {recorded}`gcn:cora-accuracy`     a recorded value in a sentence; also of a control: gcn:cora-accuracy/mlp; of an
                                      order the signed difference, whose unit and terms the sentence has to give
    {verdict}`gcn:cora-accuracy`      the verdict on a claim

All of them read the run that leads: the full one where there is one, else the quick one. A name that is not there, or a
value that was not recorded, stops the build.
"""

from __future__ import annotations

from abc import abstractmethod

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective, SphinxRole

from utils.records.claims import ClaimError, ClaimsFile
from utils.records.runs import Run
from utils.site import chart, views


class OfChapter(SphinxDirective):
    """A directive whose argument names a chapter."""

    required_arguments = 1
    has_content = False
    template = ""

    def run(self) -> list[nodes.Node]:
        """The piece of the page, from claims and record as they stand."""
        chapter = self.arguments[0]
        try:
            file, run = views.file_of(chapter), views.leading(chapter)
            views.note(self.env, chapter)
            context = self.context(file, run)
        except ClaimError as error:
            raise self.error(str(error)) from error
        page = self.env.app.builder.get_relative_uri(self.env.docname, f"chapters/{chapter}")
        return [views.raw(self.template, file=file, run=run, page=page, **context)]

    @abstractmethod
    def context(self, file: ClaimsFile, run: Run | None) -> dict:
        """What the template shows besides the run."""


class Headline(OfChapter):
    """The headline claims: a picture, and a line for each."""

    template = "headline"

    def context(self, file: ClaimsFile, run: Run | None) -> dict:
        """The rows of the headline claims, and what the picture shows of them."""
        chosen = [row for row in views.rows(file, run)[0] if row.claim.headline]
        if not chosen:
            raise ClaimError(f"data/claims/{file.chapter}.yml has no headline claim")
        return {"rows": chosen, "chart": chart.draw(chosen, run.records if run else {})}


class RecordedRun(OfChapter):
    """The table of all claims, checks apart, and a line on where the run was made."""

    template = "recorded"

    def context(self, file: ClaimsFile, run: Run | None) -> dict:
        """The rows, and the kinds of evidence among them."""
        scored, checks = views.rows(file, run)
        kinds = [kind for kind in views.EVIDENCE if any(row.claim.evidence == kind for row in scored)]
        return {"scored": scored, "checks": checks, "kinds": kinds}


class OfRecord(SphinxRole):
    """A role whose text is `chapter:claim` or `chapter:claim/control`; its words link to the row of the claim."""

    css = ""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """A link, or a fault that names what is missing."""
        chapter, _, name = self.text.partition(":")
        try:
            file, run = views.file_of(chapter), views.leading(chapter)
            views.note(self.env, chapter)
            claim = file.of_record(name)
            words = self.words(file, run, name)
        except ClaimError as error:
            message = self.inliner.reporter.error(str(error), line=self.lineno)
            return [self.inliner.problematic(self.rawtext, self.rawtext, message)], [message]
        page = self.env.app.builder.get_relative_uri(self.env.docname, f"chapters/{chapter}")
        target = f"{page}#claim-{claim.id}"
        return [nodes.reference("", "", words, internal=True, refuri=target, classes=[self.css])], []

    @abstractmethod
    def words(self, file: ClaimsFile, run: Run | None, name: str) -> nodes.Node:
        """What stands in the sentence."""


class Recorded(OfRecord):
    """A recorded value: mean and deviation over seeds, with a sign where it is a difference, or slope."""

    css = "recorded"

    def words(self, file: ClaimsFile, run: Run | None, name: str) -> nodes.Node:
        """The value, without its unit."""
        if run is None or name not in run.records:
            raise ClaimError(f"the leading run of {file.chapter} has no record {name!r}")
        return nodes.Text(file.of_record(name).in_words(run.records[name]))


class VerdictOf(OfRecord):
    """The badge of a verdict."""

    css = "verdict"

    def words(self, file: ClaimsFile, run: Run | None, name: str) -> nodes.Node:
        """The badge."""
        return views.raw("badge", badge=views.row(file[name], run.records if run else {}).badge)


def setup(app: Sphinx) -> dict:
    """Register the directives and the roles."""
    app.add_directive("headline", Headline)
    app.add_directive("recorded-run", RecordedRun)
    app.add_role("recorded", Recorded())
    app.add_role("verdict", VerdictOf())
    return {"parallel_read_safe": True, "parallel_write_safe": True}
