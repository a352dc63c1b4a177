"""The model is random: what is tested is that its answers are reported, not that they are good."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import error
from nonsense import sentences
from tiny import randomize, tiny_config

from tinyalbert import AlbertModel, BertConfig, BertForMaskedLM
from tinyalbert.cli import main
from tinyalbert.errors import InputError
from tinyalbert.fill_mask import Candidate, fill_mask, filled, format_candidates
from tinyalbert.functional import softmax
from tinyalbert.tasks import AlbertForPreTraining
from tinyalbert.tokenization.albert import AlbertTokenizer
from tinyalbert.tokenization.bert import BertTokenizer
from tinyalbert.tokenization.training import train_tokenizer

VOCAB_SIZE = 120


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> AlbertTokenizer:
    return train_tokenizer(sentences(), tmp_path_factory.mktemp("t"), vocab_size=VOCAB_SIZE)


@pytest.fixture(scope="module")
def bert_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> BertTokenizer:
    path = tmp_path_factory.mktemp("bert") / "vocab.txt"
    path.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "ba", "##do", "ki"]))
    return BertTokenizer(path)


@pytest.fixture(scope="module")
def model() -> AlbertForPreTraining:
    model = AlbertForPreTraining(tiny_config(vocab_size=VOCAB_SIZE, max_position_embeddings=16))
    return randomize(model)


def test_the_likeliest_pieces_with_their_probabilities(model, tokenizer):
    text = "bado [MASK] kila."
    ids = tokenizer.encode(text)
    place = ids.index(tokenizer.mask_token_id)
    probs = softmax(model(np.array([ids])).prediction_logits)[0, place]
    (row,) = fill_mask(model, tokenizer, text, top_k=VOCAB_SIZE)
    assert [c.token_id for c in row] == sorted(range(VOCAB_SIZE), key=lambda i: -probs[i])
    assert sum(c.probability for c in row) == pytest.approx(1, abs=1e-5)
    for candidate in row:
        assert candidate.probability == pytest.approx(probs[candidate.token_id], rel=1e-5)
        assert candidate.token == tokenizer.convert_ids_to_tokens(candidate.token_id)
    assert fill_mask(model, tokenizer, text) == [row[:5]]


def test_masks_are_predicted_in_order_from_the_text_with_all_of_them_hidden(model, tokenizer):
    text = "[MASK] bado [MASK]"
    rows = fill_mask(model, tokenizer, text, top_k=2)
    ids = tokenizer.encode(text)
    probs = softmax(model(np.array([ids])).prediction_logits)[0]
    places = [i for i, token in enumerate(ids) if token == tokenizer.mask_token_id]
    assert [row[0].token_id for row in rows] == [int(probs[i].argmax()) for i in places]
    assert rows[0][0].sentence.endswith("bado [MASK]")
    assert rows[1][0].sentence.startswith("[MASK] bado")


@pytest.mark.parametrize(("text", "mask", "piece", "expected"), [
    ("the United [MASK].", 0, "▁states", "the United states."),
    ("the state[MASK].", 0, "▁s", "the state s."),
    ("the State [MASK].", 0, "ment", "the Statement."),
    ("[MASK] the people", 0, "▁we", "we the people"),
    ("[MASK] and [MASK]", 0, "▁war", "war and [MASK]"),
    ("[MASK] and [MASK]", 1, "▁peace", "[MASK] and peace"),
])
def test_filled_sentences(tokenizer, text, mask, piece, expected):
    assert filled(text, tokenizer, mask, piece) == expected


@pytest.mark.parametrize(("text", "mask", "piece", "expected"), [
    ("The United [MASK]!", 0, "states", "The United states!"),
    ("the state[MASK].", 0, "s", "the state s."),
    ("the State [MASK].", 0, "##ment", "the Statement."),
    ("the end [MASK]", 0, ".", "the end."),
    ("[MASK] and [MASK]", 1, "peace", "[MASK] and peace"),
])
def test_filled_sentences_of_bert(bert_tokenizer, text, mask, piece, expected):
    assert filled(text, bert_tokenizer, mask, piece) == expected


def test_impossible_requests(model, tokenizer):
    with pytest.raises(InputError, match="no \\[MASK\\] in 'bado kila'"):
        fill_mask(model, tokenizer, "bado kila")
    with pytest.raises(InputError, match="63 tokens and the model 16 positions"):
        fill_mask(model, tokenizer, "[MASK]" * 61)
    with pytest.raises(InputError, match="top_k"):
        fill_mask(model, tokenizer, "[MASK]", top_k=0)


def test_terminal_table():
    states = Candidate("▁states", 7, 0.75, "the states")
    kingdom = Candidate("▁king", 9, 0.051, "the king")
    assert format_candidates("the [MASK]", [[states, kingdom]]).splitlines() == [
        "the [MASK]", "",
        "  75.0%  ▁states  ███████████████       the states",
        "   5.1%  ▁king    █                     the king"]
    assert "each predicted with the others still hidden" in format_candidates(
        "[MASK] [MASK]", [[states], [kingdom]])


def test_a_bert_on_the_command_line(bert_tokenizer, tmp_path, capsys):
    model = BertForMaskedLM(BertConfig(vocab_size=8, hidden_size=8, num_hidden_layers=2,
                                       num_attention_heads=2, intermediate_size=12))
    randomize(model).save_pretrained(tmp_path)
    assert "there is no tokenizer in" in error(capsys, "fill-mask", tmp_path, "Ba [MASK]")
    bert_tokenizer.save_pretrained(tmp_path)
    assert main(["fill-mask", str(tmp_path), "Ba [MASK]", "--top-k", "8"]) == 0
    title, empty, *lines = capsys.readouterr().out.rstrip().splitlines()
    assert (title, empty, len(lines)) == ("Ba [MASK]", "", 8)
    assert {line.split()[1]: line.split("  ")[-1] for line in lines}["##do"] == "Bado"


def test_an_encoder_on_the_command_line(tokenizer, tmp_path, capsys):
    AlbertModel(tiny_config(vocab_size=VOCAB_SIZE)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    message = error(capsys, "fill-mask", tmp_path, "[MASK]")
    assert message.startswith(f"{tmp_path} was not trained as AlbertForMaskedLM: its file lacks "
                              "'predictions.")


def test_import_is_light():
    code = ("import sys, tinyalbert.fill_mask, tinyalbert.scoring, tinyalbert.params, "
            "tinyalbert.report.page, tinyalbert.report.figures; "
            "print([m for m in ('matplotlib', 'sentencepiece', 'cupy') if m in sys.modules])")
    root = Path(__file__).resolve().parents[1]
    result = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr
