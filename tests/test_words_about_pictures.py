"""The definitions of the chapter on captions and questions: boards, questions, networks, scores, and bad input."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from utils.datasets import idx
from utils.tools import definitions, exercises

CHAPTER = definitions.of_chapter("words_about_pictures")
CHAPTER["DEVICE"] = "cpu"
DIGITS = idx._small_digits(300, 100)
FULL = [3, 4, 8, -1]  # a three left of a four, an eight below the three
SEEDS = st.integers(0, 10_000)


def fresh():
    """The chapter's definitions with a small world."""
    chapter = definitions.of_chapter("words_about_pictures")
    chapter |= {
        "DEVICE": "cpu",
        "digits": DIGITS,
        "settings": {"plain_epochs": 1, "boards": 40, "answer_epochs": 1, "caption_epochs": 1},
    }
    return chapter


@pytest.fixture(scope="module")
def small():
    """A small world, with its tensors."""
    chapter = fresh()
    data = chapter["world"](60, 0)
    torch.manual_seed(0)
    return chapter, data


@given(SEEDS, st.booleans())
@settings(max_examples=40, deadline=None)
def test_layouts_are_boards_of_different_digits(seed, held_out):
    cells = CHAPTER["layout"](np.random.default_rng(seed), held_out)
    filled = [digit for digit in cells if digit >= 0]
    assert len(cells) == 4 and 2 <= len(filled) == len(set(filled)) <= 4
    assert CHAPTER["unseen"](cells) == held_out


def test_half_of_the_full_rows_count_on():
    rng = np.random.default_rng(0)
    boards = [CHAPTER["layout"](rng) for _ in range(3000)]
    rows = [row for cells in boards for row in (cells[:2], cells[2:]) if min(row) >= 0]
    share = np.mean([right == (left + 1) % 10 for left, right in rows])
    assert 0.5 < share < 0.6  # a half, and some by chance


def test_captions_say_where_the_digits_are():
    caption = CHAPTER["caption_of"]
    assert caption(FULL) == "a three left of a four above a eight on the left"
    assert caption([-1, -1, 2, 7]) == "a two left of a seven at the bottom"
    assert caption([-1, 1, 5, -1]) == "a one on the right above a five on the left"
    assert caption([0, 9, -1, -1]) == "a zero left of a nine at the top"


def test_captions_tell_all_boards_apart():
    rng = np.random.default_rng(1)
    boards = {tuple(CHAPTER["layout"](rng)) for _ in range(2000)}
    assert len({CHAPTER["caption_of"](list(cells)) for cells in boards}) == len(boards)


def test_questions_have_the_answers_that_a_look_gives():
    known = CHAPTER["answers_of"](FULL)
    assert known["is there a three ?"] == "yes" and known["is there a five ?"] == "no"
    assert known["how many digits are there ?"] == "three"
    assert known["what is left of the four ?"] == "three" and "what is left of the three ?" not in known
    assert known["what is above the eight ?"] == "three"
    assert known["which is larger , the left or the right ?"] == "right"
    assert known["which is larger , the upper or the lower ?"] == "lower"
    four = CHAPTER["answers_of"]([9, 0, 1, 2])
    assert not [question for question in four if question.startswith("which")]  # two full rows: not clear


def test_people_ask_about_what_they_see():
    rng, known = np.random.default_rng(0), CHAPTER["answers_of"](FULL)
    for yes, low, high in ((0.7, 0.65, 0.75), (0.5, 0.45, 0.55)):
        asked = [q for _ in range(3000) for q in CHAPTER["ask"](known, rng, yes=yes) if q.startswith("is there")]
        assert low < np.mean([known[question] == "yes" for question in asked]) < high


def test_pictures_hold_the_digits_in_their_cells():
    stock = np.stack([np.full((14, 14), 10 * (digit + 1), np.uint8) for digit in range(10)])
    picture = CHAPTER["painted"]([FULL], stock, np.arange(10), np.random.default_rng(0))[0]
    assert picture[0, 0] == 40 and picture[0, 27] == 50 and picture[27, 0] == 90 and not picture[14:, 14:].any()


def test_parts_of_a_world_share_no_image(small):
    chapter, data = small
    assert [len(part.layouts) for part in data.values()] == [60, 12, 12, 6]
    assert all(map(chapter["unseen"], data["unseen"].layouts))
    assert not any(chapter["unseen"](cells) for name in ("learn", "test") for cells in data[name].layouts)
    for name in ("learn", "test"):
        images = chapter["shrunk"](DIGITS.train[:250] if name == "learn" else DIGITS.test)
        known = {image.tobytes() for image in images}
        for cells, picture in zip(data[name].layouts, data[name].pictures, strict=True):
            quarters = picture.reshape(2, 14, 2, 14).swapaxes(1, 2).reshape(4, 14, 14)
            assert all(quarters[n].tobytes() in known for n in range(4) if cells[n] >= 0)


def test_more_digits_than_cells_are_refused():
    with pytest.raises(ValueError, match="5 digits for the 4 cells"):
        CHAPTER["painted"]([[1, 2, 3, 4, 5]], np.zeros((10, 14, 14)), np.arange(10), np.random.default_rng(0))


@pytest.mark.parametrize("shape", [(2, 28, 27), (28, 28), (2, 1, 28, 28)])
def test_boards_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match="boards have the shape"):
        CHAPTER["as_input"](np.zeros(shape))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_pixels_that_are_no_numbers_are_refused(bad):
    board = np.zeros((1, 28, 28))
    board[0, 3, 3] = bad
    with pytest.raises(ValueError, match="not finite"):
        CHAPTER["as_input"](board)


def test_empty_questions_and_unknown_words_are_refused():
    table = CHAPTER["table_of"](["is there a five ?"])
    for empty in ("", "   "):
        with pytest.raises(ValueError, match="an empty text"):
            CHAPTER["numbered"]([empty], table)
    with pytest.raises(ValueError, match=r"unknown word 'fife' .* \['five'\]"):
        CHAPTER["numbered"](["is there a fife ?"], table)


def test_texts_become_numbers_and_come_back():
    texts = ["a four above a two", "a two"]
    table = CHAPTER["table_of"](texts)
    rows = CHAPTER["numbered"](texts, table, 7)
    assert rows[1, 2:].eq(0).all() and CHAPTER["as_texts"](rows, table) == texts
    left = CHAPTER["numbered"](texts, table, 7, left=True)
    assert left[1, :5].eq(0).all() and left[1, 5:].tolist() == rows[1, :2].tolist()


def test_a_blind_network_says_the_same_about_all_pictures_and_a_seeing_one_does_not():
    torch.manual_seed(0)
    pictures, questions = torch.rand(4, 1, 28, 28), torch.randint(2, 9, (1, 3, 10)).expand(4, 3, 10)
    blind, sees = (CHAPTER["Answerer"](9, 5, sees=sees).eval() for sees in (False, True))
    logits = blind(pictures, questions)
    assert logits.shape == (4, 3, 5)
    torch.testing.assert_close(logits, logits[:1].expand(4, 3, 5))
    logits = sees(pictures, questions)
    assert (logits[0] - logits[1]).abs().max() > 1e-4
    vector, (_, (state, _)) = sees.eye(pictures).tanh(), sees.lstm(sees.embed(questions[0]))
    torch.testing.assert_close(logits[2], sees.out(vector[2] * state[-1]))


def test_the_captioner_sees_the_picture_before_the_words():
    torch.manual_seed(0)
    pictures, text = torch.rand(3, 1, 28, 28), torch.randint(9, (3, 5))
    model = CHAPTER["Captioner"](9).eval()
    cell = nn.LSTMCell(64, 64)
    for name, weights in model.lstm.named_parameters():
        setattr(cell, name.removesuffix("_l0"), weights)
    state, logits = cell(model.eye(pictures)), []
    for step in range(5):
        state = cell(model.embed(text[:, step]), state)
        logits.append(model.out(state[0]))
    torch.testing.assert_close(model(pictures, text), torch.stack(logits, 1), atol=1e-5, rtol=1e-4)
    never = CHAPTER["Captioner"](9, look="never").eval()
    torch.testing.assert_close(never(pictures, text[:1].expand(3, 5))[0], never(pictures[1:2], text[:1])[0])
    always = CHAPTER["Captioner"](9, look="always").eval()
    inputs = always.embed(text) + always.eye(pictures)[:, None]
    torch.testing.assert_close(always(pictures, text), always.out(always.lstm(inputs)[0]))


def test_what_fills_a_caption_is_not_judged():
    torch.manual_seed(0)
    model = CHAPTER["Captioner"](9).eval()
    pictures = torch.rand(2, 1, 28, 28)
    short = torch.tensor([[1, 5, 6, 0], [1, 7, 5, 0]])
    long = torch.cat([short, torch.zeros(2, 4, dtype=torch.long)], 1)
    torch.testing.assert_close(model.loss(pictures, short), model.loss(pictures, long))


@given(st.integers(0, 100))
@settings(max_examples=5, deadline=None)
def test_the_fast_writer_writes_the_same(seed):
    torch.manual_seed(seed)
    model, pictures = CHAPTER["Captioner"](9), torch.rand(4, 1, 28, 28)
    text = CHAPTER["write"](model, pictures)
    assert text.shape == (4, 15) and torch.equal(text, CHAPTER["write_fast"](model, pictures))
    assert all(set(row[row.index(0) :]) == {0} for row in text.tolist() if 0 in row)


def test_bleu_of_the_pencil_and_its_ends():
    bleu = CHAPTER["bleu"]
    assert bleu(["a four above a seven"], ["a four above a two"]) == pytest.approx(100 * 0.2**0.25)
    assert bleu(["a b c d e"], ["a b c d e"]) == pytest.approx(100)
    assert bleu(["a b c d"], ["a b c d e"]) == pytest.approx(100 * np.exp(-0.25))  # too short
    assert bleu(["a a a a a"], ["a b c d e"], longest=1) == pytest.approx(20)  # a word counts as often as it is wanted
    assert CHAPTER["exact"](["a", "b"], ["a", "c"]) == 50


def test_the_best_epoch_is_kept():
    class Scripted(nn.Module):
        """Its validation losses are given."""

        def __init__(self):
            super().__init__()
            self.weight, self.losses = nn.Parameter(torch.zeros(())), iter([3.0, 1.0, 2.0])

        def loss(self, x):
            if self.training:
                return self.weight * x.mean()
            self.seen = [*getattr(self, "seen", []), self.weight.item()]
            return torch.tensor(next(self.losses))

    model = Scripted()
    history = CHAPTER["train"](model, (torch.ones(4),), (torch.ones(4),), 3, batch=2)
    assert history == [3, 1, 2] and model.weight.item() == model.seen[1] != model.seen[2]


def test_a_last_batch_of_one_is_left_out():
    class Normed(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.sizes = nn.BatchNorm1d(1), []

        def loss(self, x):
            self.sizes += [len(x)] * self.training
            return self.norm(x).square().mean()

    model, x = Normed(), torch.randn(5, 1)
    assert len(CHAPTER["train"](model, (x,), (x,), 3, batch=2)) == 3
    assert model.sizes == [2, 2] * 3


def test_pairs_are_balanced(small):
    chapter, data = small
    test = data["learn"]
    apart = chapter["distances"](test.pictures, test.pictures)
    assert apart.shape == (60, 60) and np.allclose(apart.diagonal(), 0, atol=2)
    pairs = chapter["balanced"](test, apart)
    assert len(pairs) > 50
    for first, second, question, ours, theirs in pairs:
        answers = [chapter["answers_of"](test.layouts[n])[question] for n in (first, second)]
        assert answers == [ours, theirs] and ours != theirs
        others = [n for n in range(60) if chapter["answers_of"](test.layouts[n]).get(question) not in (None, ours)]
        assert apart[first, second] == min(apart[first, n] for n in others)


def test_a_blind_network_never_has_both_of_a_pair_right(small):
    chapter, data = small
    tensors, table, names = chapter["answering"](data)
    pairs = chapter["balanced"](data["learn"], chapter["distances"](*[data["learn"].pictures] * 2))
    model = chapter["Answerer"](2 + len(table), len(names), sees=False)
    found = chapter["paired"](model, pairs, tensors["learn"][0], table, names)
    assert found.shape == (len(pairs), 2) and not found.all(1).any()


def test_cells_are_read_one_by_one(small):
    chapter, data = small
    pictures = chapter["as_input"](data["test"].pictures)
    cells = chapter["cells_of"](pictures)
    torch.testing.assert_close(cells[:, 1, 0], pictures[:, 0, :14, 14:])
    torch.testing.assert_close(cells[:, 2, 0], pictures[:, 0, 14:, :14])
    read = np.array(chapter["read"](chapter["Reader"](), pictures))
    assert np.array_equal(read < 0, np.array(data["test"].layouts) < 0)


def test_rivals_are_judged_on_the_test_boards(small):
    chapter, data = small
    apart = chapter["distances"](data["test"].pictures, data["learn"].pictures)
    found = chapter["rivals"](data, apart, data["test"].layouts)
    assert found["pipeline"].all()  # told the layouts, rules answer all
    assert set(found) == {"commonest", "kind", "ceiling", "nearest", "pipeline"}
    assert {right.shape for right in found.values()} == {(12, 3)}
    for way in ("commonest", "nearest"):
        assert not found[way].all()


def test_errors_that_follow_the_prior_are_counted():
    run = {
        "kinds": np.array([["what is left", "what is left", "what is left", "is there"]]),
        "sees": np.array([[False, False, True, False]]),
        "asked": np.array([["four", "zero", "two", "five"]]),
        "given": np.array([["three", "one", "one", "four"]]),
    }
    assert CHAPTER["leaned"](run, "what is left") == 0.5
    assert CHAPTER["leaned"](run, "what is above") == 0


def test_the_rate_is_chosen_on_validation_data_of_another_seed(monkeypatch):
    chapter = fresh()
    chapter["chapter"], seen = SimpleNamespace(recorded_curve=lambda name: None), []

    def trial(function, seeds, kind, rate, boards, epochs):
        seen.append((function.__name__, tuple(seeds), kind))
        return [abs(rate - (0.1 if kind == "sees" else 0.2))]

    monkeypatch.setattr(chapter["seeds"], "each", trial)
    chosen = chapter["best_rates"](("sees", "blind", "once"), (0.1, 0.2), 10, 1)
    assert chosen == {"sees": 0.1, "blind": 0.2, "once": 0.2}
    assert {name for name, *_ in seen} == {"trial"} and {at for _, at, _ in seen} == {(1000,)}


def test_runs_of_all_methods_give_what_is_recorded():
    chapter = fresh()
    torch.manual_seed(0)
    rates = dict.fromkeys(("sees", "blind", "once", "always", "never"), 3e-3)
    found = chapter["answer_run"](rates, 60, 1, 0)
    assert all(found[way].shape == (12, 3) for way in chapter["WAYS"])
    assert not found["blind, pairs"].all(1).any()
    found = chapter["balance_run"](3e-3, 60, 1, 0)
    assert set(found) == {(way, where) for way in ("people", "pairs") for where in ("test", "pairs")}
    found = chapter["caption_run"](rates, (1, 2), 60, 1, 0)
    assert found["nearest, unseen"] == found["eye, unseen"] == 0
    assert found["beam, chosen"] in (1, 2) and found["eye, chosen"] in (False, True)
    assert {f"{way}, test as unseen" for way in ("once", "always", "pipeline")} <= set(found)
    assert {f"{way}, {name}" for way in ("once", "always", "never") for name in ("test", "unseen")} <= set(found)


@given(SEEDS)
@settings(max_examples=10, deadline=None)
def test_a_beam_of_one_is_greedy_and_a_wider_one_finds_no_less_likely_text(seed):
    torch.manual_seed(seed)
    model, pictures = CHAPTER["Captioner"](5, width=8).eval(), torch.rand(3, 1, 28, 28)
    assert torch.equal(CHAPTER["write_beam"](model, pictures, 1), CHAPTER["write"](model, pictures))

    def chance(text, n):
        """The log probability of a text up to its end."""
        told = model(pictures[n : n + 1], text[None, :-1]).log_softmax(-1)[0]
        told = told.gather(1, text[1:, None])[:, 0]
        return told[: int((text[1:] == 0).float().argmax()) + 1 if (text[1:] == 0).any() else None].sum().item()

    with torch.no_grad():  # 5 words and 3 steps: a beam of 25 keeps all that is not finished
        best = CHAPTER["write_beam"](model, pictures, 5, steps=2)
        for n in range(3):
            texts = [torch.tensor([1, a, b if a else 0]) for a in range(5) for b in range(5)]
            assert chance(best[n], n) == pytest.approx(max(chance(text, n) for text in texts), abs=1e-5)


def test_the_nearest_by_its_eye_is_the_board_itself():
    torch.manual_seed(0)
    model, pictures = CHAPTER["Captioner"](9), torch.rand(6, 1, 28, 28)
    for cosine in (False, True):
        assert CHAPTER["nearest_by_eye"](model, pictures, pictures[[4, 1]], cosine) == [4, 1]


def test_equal_counts_weigh_the_boards():
    good, counts = np.array([True, True, False, False]), np.array([2, 2, 2, 3])
    assert CHAPTER["at_equal_counts"](good, counts, np.array([2, 3, 3, 3])) == pytest.approx(100 * (2 / 3) / 4)
    assert CHAPTER["at_equal_counts"](good, counts, counts) == pytest.approx(50)


def test_training_on_pairs_and_as_people_ask_have_one_question_a_board(small):
    chapter, data = small
    tensors, table, names = chapter["answering"](data)
    pictures, asked, wanted = chapter["as_people_ask"](tensors["learn"])
    assert asked.shape == (120, 1, 10) and wanted.shape == (120, 1) and pictures.shape[0] == 120
    assert torch.equal(pictures[:60], pictures[60:]) and torch.equal(asked[60:, 0], tensors["learn"][1][:, 1])
    pictures, asked, wanted = chapter["in_pairs"](tensors["learn"], data["learn"], table, names)
    half = len(pictures) // 2
    assert torch.equal(asked[:half], asked[half:]) and not (wanted[:half] == wanted[half:]).any()


def test_the_second_question_of_a_dialogue_is_about_the_first_answer():
    turns = CHAPTER["turns_of"]
    assert turns([3, 4, 8, -1]) == [
        ("what is left of the four ?", "three", "and below it ?", "eight"),
        ("what is above the eight ?", "three", "and beside it ?", "four"),
    ]
    assert ("what is left of the seven ?", "eight", "and above it ?", "three") in turns([3, 4, 8, 7])
    assert turns([3, -1, -1, 5]) == []
    assert turns([3, 4, -1, 8]) == [("what is above the eight ?", "four", "and beside it ?", "three")]


def test_networks_of_a_dialogue_read_what_they_are_called_after():
    ways, turn = CHAPTER["TURNS"], ("what is above the two ?", "five", "and beside it ?")
    assert ways["both turns"](*turn) == "what is above the two ? five and beside it ?"
    assert "five" not in ways["no answer between"](*turn) and ways["second question alone"](*turn) == turn[2]
    found = fresh()["dialogue_run"](3e-3, 60, 1, 0)
    assert set(found) == {*ways, "another turn"} and all(0 <= share <= 100 for share in found.values())


def test_without_rates_to_choose_from_those_of_the_recorded_run_serve():
    chapter = fresh()

    class Recorded:
        @staticmethod
        def recorded_curve(name):
            return {"once": [0.01]} if name == "rates" else None

    chapter["chapter"] = Recorded
    assert chapter["best_rates"](("once", "sees"), (), 10, 1) == {"once": 0.01, "sees": 0.003}


@pytest.mark.parametrize("number", range(4))
def test_the_exercises_run(number):
    chapter = fresh()
    data = chapter["world"](60, 0)
    tensors, table, names = chapter["answering"](data)
    captions, words = chapter["captioning"](data)
    sees = chapter["Answerer"](2 + len(table), len(names))
    after = chapter | {"data": data, "test": data["test"], "tensors": tensors, "models": {"sees": sees}}
    after |= {"caption_tensors": captions, "caption_table": words}
    exercises.execute("words_about_pictures", number, after, {"(500, 1000)": "(60, 80)"})
