"""What a model takes in: weights by Hugging Face name, and inputs, right and wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tiny import make_batch, randomize, tiny_config

from tinyalbert import AlbertForPreTraining, AlbertModel, InputError


def make_model(**changes: Any) -> AlbertForPreTraining:
    return randomize(AlbertForPreTraining(tiny_config(**changes), dtype="float64"))


# --- weights ------------------------------------------------------------------------------------


@pytest.mark.parametrize("sharing", ["all", "attention", "ffn", "none"])
def test_a_state_dict_makes_an_equal_model(sharing: str) -> None:
    model = make_model(sharing=sharing)
    other = AlbertForPreTraining(model.config, dtype="float64", seed=9)
    other.load_state_dict(model.state_dict())
    batch = make_batch(model.config)
    assert other(**batch).loss == model(**batch).loss
    other.albert.embeddings.word_embeddings.weight.data[...] = 0        # not the same memory
    assert model.albert.embeddings.word_embeddings.weight.data.all()


def test_a_tied_tensor_may_stand_under_any_of_its_names() -> None:
    state = make_model().state_dict()
    decoder, table = "predictions.decoder.weight", "albert.embeddings.word_embeddings.weight"
    assert np.array_equal(state[decoder], state[table])
    for name in (decoder, table):
        model = AlbertForPreTraining(tiny_config(), dtype="float64")
        model.load_state_dict({k: v for k, v in state.items() if k != name})
        assert np.array_equal(model.state_dict()[name], state[name])


def test_a_state_dict_that_does_not_fit() -> None:
    model = make_model()
    state = model.state_dict()
    without = {k: v for k, v in state.items() if k != "albert.pooler.weight"}
    with pytest.raises(InputError, match="^missing tensor 'albert.pooler.weight'$"):
        model.load_state_dict(without)
    with pytest.raises(InputError, match="^unexpected tensor 'pooler'$"):
        model.load_state_dict({**state, "pooler": state["albert.pooler.weight"]})
    with pytest.raises(InputError, match=r"^unexpected tensor 'x' \(and 1 more\)$"):
        model.load_state_dict({**state, "x": np.ones(1), "y": np.ones(1)})
    name = "albert.encoder.embedding_hidden_mapping_in.weight"          # [H, E] in their layout
    with pytest.raises(InputError, match=rf"^tensor '{name}' has shape \[6, 8\], the configuration "
                                         r"asks for \[8, 6\]$"):
        model.load_state_dict({**state, name: state[name].T})


def test_a_state_dict_is_a_copy_and_a_refused_one_changes_nothing() -> None:
    model = make_model()
    before = model.state_dict()
    wrong = {name: tensor + 1 for name, tensor in before.items()}
    wrong["predictions.bias"] = wrong["predictions.bias"][1:]
    with pytest.raises(InputError, match="predictions.bias"):
        model.load_state_dict(wrong)
    for name, tensor in model.state_dict().items():
        assert np.array_equal(tensor, before[name])
    model.zero_grad()
    model.predictions.bias.data[...] = 7
    assert not np.array_equal(before["predictions.bias"], model.state_dict()["predictions.bias"])


@pytest.mark.parametrize("dtype", ["float16", "int32", "bf16", int])
def test_a_precision_that_models_do_not_come_in(dtype: Any) -> None:
    with pytest.raises(InputError, match="^dtype must be float32"):
        AlbertForPreTraining(tiny_config(), dtype=dtype)


def test_initial_weights() -> None:
    """Google's truncated normal: nothing beyond two deviations, which makes the realised one
    0.8796 of what is asked for; biases 0, gains 1."""
    config = tiny_config(vocab_size=5000, embedding_size=32)
    model = AlbertModel(config, dtype="float64", seed=3)
    table = model.embeddings.word_embeddings.weight.data
    assert abs(table).max() <= 2 * 0.02
    assert table.std() == pytest.approx(0.8796 * 0.02, rel=0.01)
    assert abs(table.mean()) < 5 * 0.0176 / np.sqrt(table.size)
    for name, parameter in model.named_parameters().items():
        if name.endswith("bias"):
            assert not parameter.data.any()
        elif "LayerNorm" in name:
            assert (parameter.data == 1).all()
        else:
            assert parameter.data.all()
    other = AlbertModel(config, dtype="float64", seed=4)
    assert (other.embeddings.word_embeddings.weight.data != table).all()


# --- bad input ----------------------------------------------------------------------------------

IDS = np.array([[5, 6, 7], [8, 9, 10]])
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "too large an id": ({"input_ids": [[5, 23]]}, r"input_ids holds 23, which is outside 0\.\.22"),
    "negative id": ({"input_ids": [[5, -1]]}, r"input_ids holds -1, which is outside 0\.\.22"),
    "floats as ids": ({"input_ids": [[5.0, 6.0]]},
                      "input_ids must hold whole numbers, not float64"),
    "one sequence, no batch": ({"input_ids": [5, 6]},
                               r"input_ids must have shape \[batch, tokens\], not \[2\]"),
    "three dimensions": ({"input_ids": [[[5, 6]]]},
                         r"input_ids must have shape \[batch, tokens\], not \[1, 1, 2\]"),
    "no token": ({"input_ids": [[]]},
                 r"input_ids must have shape \[batch, tokens\], not \[1, 0\]"),
    "too long": ({"input_ids": [[5] * 13]}, "a sequence of 13 tokens exceeds "
                                            "max_position_embeddings 12: truncate it"),
    "mask shape": ({"input_ids": IDS, "attention_mask": [[1, 1], [1, 1]]},
                   r"attention_mask has shape \[2, 2\], input_ids \[2, 3\]: they must agree"),
    "types shape": ({"input_ids": IDS, "token_type_ids": [0, 0, 0]},
                    r"token_type_ids has shape \[3\], input_ids \[2, 3\]: they must agree"),
    "type": ({"input_ids": IDS, "token_type_ids": IDS * 0 + 3},
             r"token_type_ids holds 3, which is outside 0\.\.2"),
    "labels shape": ({"input_ids": IDS, "labels": [5, 6]},
                     r"labels has shape \[2\], expected \[2, 3\]"),
    "label": ({"input_ids": IDS, "labels": IDS + 20}, r"labels holds 25, which is outside 0\.\.22"),
    "label -1": ({"input_ids": IDS, "labels": IDS * 0 - 1},
                 r"labels holds -1, which is outside 0\.\.22"),
    "floats as labels": ({"input_ids": IDS, "labels": IDS * 1.0},
                         "labels must hold whole numbers, not float64"),
    "order shape": ({"input_ids": IDS, "sentence_order_label": [[0, 1]]},
                    r"sentence_order_label has shape \[1, 2\], expected \[2\]"),
    "ragged": ({"input_ids": [[5, 6], [5]]}, "input_ids cannot be made into one array: are its "
                                             r"sequences padded to the same length\?"),
    "mask values": ({"input_ids": IDS, "attention_mask": IDS},
                    "attention_mask must hold 1 for a token and 0 for padding, no other"),
    "order": ({"input_ids": IDS, "sentence_order_label": [0, 2]},
              r"sentence_order_label holds 2, which is outside 0\.\.1"),
}


@pytest.mark.parametrize("inputs, message", WRONG.values(), ids=WRONG.keys())
def test_bad_input_is_one_sentence(inputs: dict[str, Any], message: str) -> None:
    model = make_model()
    for call in (model, model.forward):
        with pytest.raises(InputError, match=f"^{message}$"):
            call(**inputs)
