"""The loader of sentiment trees; the real file is read from the mirror folder only."""

import os
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils import datasets
from utils.datasets import sentiment_trees
from utils.datasets.sentiment_trees import Tree

pytestmark = pytest.mark.usefixtures("empty_cache")
needs_mirror = pytest.mark.skipif(not os.environ.get("WALKTHROUGHS_MIRROR"), reason="WALKTHROUGHS_MIRROR is not set")
LINE = "(3 (2 a) (4 (3 very) (3 good)))"
GOOD = Tree(3, "", Tree(2, "a"), Tree(4, "", Tree(3, "very"), Tree(3, "good")))


def sound(found: sentiment_trees.Treebank) -> None:
    """What holds for the trees, real or not."""
    assert (len(found.training), len(found.validation), len(found.test)) == (8544, 1101, 2210)
    for tree in found.test:
        for node in tree.nodes():
            assert node.label in range(5) and bool(node.word) == (node.left is None) == (node.right is None)


@needs_mirror
def test_the_real_trees():
    found = sentiment_trees.load()
    sound(found)
    assert not found.stand_in and datasets.loaded["sst-trees"] == "real"
    nodes = [node for part in (found.training, found.validation, found.test) for t in part for node in t.nodes()]
    assert len(nodes) == 442629 and sum(bool(node.word) for node in nodes) == 227242  # the card's counts
    shares = [round(100 * sum(t.label == k for t in found.training) / 8544) for k in range(5)]
    assert shares == [13, 26, 19, 27, 15]
    assert str(found.test[0]) == "(2 (3 (3 Effective) (2 but)) (1 (1 too-tepid) (2 biopic)))"
    assert sum("\xa0" in node.word for node in nodes) == 3


def test_the_stand_in_is_announced_and_always_the_same(offline, capsys):
    found = sentiment_trees.load()
    sound(found)
    assert found.stand_in and "STAND-IN DATA for sst-trees" in capsys.readouterr().out
    assert found.test == sentiment_trees.generated().test
    assert "stand-in" in datasets.card("sst-trees").facts


def test_a_line_becomes_a_tree():
    (tree,) = sentiment_trees.parse(LINE)
    assert tree == GOOD and tree.words == ["a", "very", "good"] and str(tree) == LINE
    assert [node.label for node in tree.nodes()] == [2, 3, 3, 4, 3]  # parts before their whole


TREES = st.recursive(
    st.builds(Tree, st.integers(0, 4), st.text("ab.'\xa0-", min_size=1), st.none(), st.none()),
    lambda part: st.builds(Tree, st.integers(0, 4), st.just(""), part, part),
    max_leaves=12,
)


@given(TREES)
def test_what_is_written_is_read(tree):
    assert sentiment_trees.tree(str(tree)) == tree


@pytest.mark.parametrize(
    "change", [lambda t: "\ufeff" + t, lambda t: t.replace("\n", "\r\n"), lambda t: t + "\n\n", lambda t: "  " + t]
)
def test_byte_order_mark_windows_line_ends_and_empty_lines_do_no_harm(change):
    assert sentiment_trees.parse(change(LINE + "\n" + LINE)) == (GOOD, GOOD)


@pytest.mark.parametrize("text", ["", "\n \n", "\ufeff"])
def test_a_text_without_trees_is_refused(text):
    with pytest.raises(datasets.BadFile, match="holds no tree"):
        sentiment_trees.parse(text)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("(3 (2 a) (2 b)", "1 brackets are not closed"),
        ("(3 (2 a) (2 b)))", "closes that was not opened"),
        ("(5 (2 a) (2 b))", "label '5' is not 0, 1, 2, 3 or 4"),
        ("(-1 a)", "label '-1' is not"),
        ("(33 a)", "label '33' is not"),
        ("(x a)", "label 'x' is not"),
        ("(2 (2 a))", "neither a label and a word"),
        ("(2 (2 a) (2 b) (2 c))", "neither a label and a word"),
        ("(2 a b)", "neither a label and a word"),
        ("((2 a) (2 b))", "neither a label and a word"),
        ("(2 a (2 b))", "neither a label and a word"),
        ("(2)", "neither a label and a word"),
        ("()", "neither a label and a word"),
        ("(2 a) (2 b)", "2 trees, and not one"),
        ("word", "outside of all brackets"),
    ],
)
def test_a_line_that_is_wrong_is_named(line, words):
    with pytest.raises(datasets.BadFile, match=f"line 2: .*{words}"):
        sentiment_trees.parse(f"{LINE}\n{line}\n")


@pytest.mark.parametrize(
    "content",
    [
        b"no archive",
        {"trees/train.txt": LINE.encode()},
        {name: b"\xff\xfe" for name in sentiment_trees.PARTS.values()},
        {name: b"" for name in sentiment_trees.PARTS.values()},
    ],
)
def test_an_archive_that_is_not_whole_is_refused(content, tmp_path):
    place = tmp_path / "trees.zip"
    if isinstance(content, bytes):
        place.write_bytes(content)
    else:
        with zipfile.ZipFile(place, "w") as archive:
            for name, text in content.items():
                archive.writestr(name, text)
    with pytest.raises(datasets.BadFile):
        sentiment_trees.read(place)
