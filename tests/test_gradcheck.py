"""The gradient checker must fail on wrong gradients, and name what is wrong with them.

Every layer here makes one mistake, of the kind that trains all the same. All sizes differ: B = 3
sequences of T = 5 tokens, H = 6 in N = 2 heads of D = 3, and F = 7.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tiny

from tinyalbert import AlbertForPreTraining, check_gradients
from tinyalbert import functional as F
from tinyalbert.attention import AlbertAttention
from tinyalbert.backend import get_backend
from tinyalbert.config import AlbertConfig
from tinyalbert.embeddings import AlbertEmbeddings
from tinyalbert.errors import InputError
from tinyalbert.fast import textbook
from tinyalbert.feed_forward import AlbertFeedForward
from tinyalbert.gradcheck import Report
from tinyalbert.layer import Initializer, Layer
from tinyalbert.layers import Embedding, LayerNorm, Linear, TiedLinear

B, T, H = 3, 5, 6
CONFIG = AlbertConfig(
    vocab_size=11, embedding_size=4, hidden_size=H, num_hidden_layers=2, num_attention_heads=2,
    intermediate_size=7, max_position_embeddings=8, hidden_dropout_prob=0.1,
    attention_probs_dropout_prob=0.2)
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]])
BIAS = np.where(MASK == 1, 0.0, -10000.0)[:, None, None, :]


@pytest.fixture(autouse=True)
def as_written():
    """The mistakes are made in the textbook functions, so those must run."""
    with textbook():
        yield


def init() -> Initializer:
    return Initializer(get_backend("numpy"), np.float64, seed=1, std=0.5)


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape)


def assert_named(report, name: str, phrase: str) -> None:
    assert not report.ok
    assert not report[name].ok, report
    assert phrase in report[name].cause, report
    assert phrase in str(report) and name in str(report)


# --- layer norm


class WrongNorm(LayerNorm):
    def backward(self, dy, cache):
        super().backward(dy, cache)
        return self.dx(dy, *cache)


class GainOutside(WrongNorm):
    def dx(self, dy, x_hat, inv_std, weight):
        return weight * inv_std * (dy - dy.mean(-1, keepdims=True)
                                   - x_hat * (dy * x_hat).mean(-1, keepdims=True))


class NoMean(WrongNorm):
    def dx(self, dy, x_hat, inv_std, weight):
        g = dy * weight
        return inv_std * (g - x_hat * (g * x_hat).mean(-1, keepdims=True))


class NoDeviation(WrongNorm):
    def dx(self, dy, x_hat, inv_std, weight):
        g = dy * weight
        return inv_std * (g - g.mean(-1, keepdims=True))


class Constants(WrongNorm):
    def dx(self, dy, x_hat, inv_std, weight):
        return inv_std * dy * weight


class NoScaling(WrongNorm):
    def dx(self, dy, x_hat, inv_std, weight):
        return F.layer_norm_backward(dy, F.LayerNormCache(x_hat, 1 + 0 * inv_std, weight))[0]


@pytest.mark.parametrize("wrong, phrase", [
    (GainOutside, "Right when every gain γ is 1"),
    (NoMean, "the term - mean(g)"),
    (NoDeviation, "the term - x̂ mean(g x̂)"),
    (Constants, "mean and deviation are taken for constants"),
    (NoScaling, "Every row is off by a factor of its own: in a layer norm, 1/σ"),
])
def test_layer_norm(wrong, phrase):
    report = check_gradients(wrong(H, 1e-12, init()), numbers(B, T, H))
    assert_named(report, "input x", phrase)
    assert report["weight"].ok and report["bias"].ok


def test_a_wrong_norm_is_found_inside_a_layer_whose_gains_are_one():
    """As initialised γ is 1, and then this mistake changes nothing."""
    layer = AlbertFeedForward(CONFIG, init())
    layer.LayerNorm = GainOutside(H, 1e-12, init())
    assert (layer.LayerNorm.weight.data == 1).all()
    report = check_gradients(layer, numbers(B, T, H))
    assert_named(report, "ffn.weight", "Right when every gain γ is 1")
    assert report["LayerNorm.weight"].ok


# --- linear


class WrongLinear(Linear):
    """The right gradients, before `spoil` changes them."""

    def backward(self, dy, x):
        dx, d_weight, d_bias = self.spoil(dy, *F.linear_backward(dy, x, self.weight.data))
        self.weight.grad += d_weight
        self.bias.grad += d_bias
        return dx


def spoiled(change):
    """A Linear whose backward returns change(dy, dx, d_weight, d_bias) instead."""
    layer = type("Spoiled", (WrongLinear,), {"spoil": staticmethod(change)})(H, H, init())
    return check_gradients(layer, numbers(B, T, H))


def without(x, *index):
    x = x.copy()
    x[index] = 0
    return x


@pytest.mark.parametrize("change, name, phrase", [
    (lambda dy, dx, dw, db: (dx, dw / B, db), "weight", "oo small by the factor 3, perhaps B,"),
    (lambda dy, dx, dw, db: (dx, dw / (B * T), db), "weight",
     "oo small by the factor 15, perhaps (B·T)"),
    (lambda dy, dx, dw, db: (dx * T, dw, db), "input x", "oo large by the factor 5, perhaps T,"),
    (lambda dy, dx, dw, db: (dx, 2 * dw, db), "weight", "added twice"),
    (lambda dy, dx, dw, db: (dx, dw.T, db), "weight", "Transposed"),
    (lambda dy, dx, dw, db: (dx, -dw, db), "weight", "The sign is flipped"),
    (lambda dy, dx, dw, db: (dx, -dw / B, db), "weight",
     "The sign is flipped, and it is too small by the factor 3"),
    (lambda dy, dx, dw, db: (dx, 0 * dw, db), "weight", "Nothing arrives"),
    (lambda dy, dx, dw, db: (dx, dw, dy[:, 0].sum(0)), "bias", "The weight beside it is right"),
    (lambda dy, dx, dw, db: (dx, dw, db * np.nan), "bias", "Not a number"),
    (lambda dy, dx, dw, db: (dx[:, :2], dw, db), "input x", "The shape is wrong"),
])
def test_linear(change, name, phrase):
    report = spoiled(change)
    assert_named(report, name, phrase)
    assert [row.name for row in report.rows if not row.ok] == [name]


@pytest.mark.parametrize("change, name, where", [
    (lambda dy, dx, dw, db: (without(dx, slice(None), 0), dw, db), "input x", "only token 0"),
    (lambda dy, dx, dw, db: (without(dx, slice(1, 3)), dw, db), "input x", "only sequences 1, 2"),
    (lambda dy, dx, dw, db: (without(dx, 2, 4), dw, db), "input x", "only sequence 2, token 4"),
    (lambda dy, dx, dw, db: (dx, without(dw, slice(None), slice(3, 6)), db), "weight",
     "only columns 3..5"),
    (lambda dy, dx, dw, db: (dx, without(dw, 0), db), "weight", "only row 0"),
    (lambda dy, dx, dw, db: (dx, dw, without(db, [0, 2])), "bias", "only elements 0, 2"),
])
def test_it_says_which_part_is_wrong(change, name, where):
    report = spoiled(change)
    assert report[name].where == where
    assert_named(report, name, "Nothing arrives")


# --- sharing and tying


class Overwriting(Linear):
    def backward(self, dy, x):
        dx, d_weight, self.bias.grad = F.linear_backward(dy, x, self.weight.data)
        self.weight.grad[...] = d_weight
        return dx


class Twice(Layer):
    """One linear layer, applied two times: ALBERT in small."""

    def __init__(self, linear):
        self.linear = linear

    def forward(self, x):
        y, first = self.linear.forward(x)
        z, second = self.linear.forward(y)
        return z, (first, second)

    def backward(self, dz, cache):
        return self.linear.backward(self.linear.backward(dz, cache[1]), cache[0])


def test_overwriting_a_shared_gradient():
    report = check_gradients(Twice(Overwriting(H, H, init())), numbers(B, T, H))
    for name in ("linear.weight", "linear.bias"):
        assert_named(report, name, "Overwritten instead of added")
    assert report["input x"].ok


def test_overwriting_breaks_a_law_even_where_nothing_is_shared():
    report = check_gradients(Overwriting(H, H, init()), numbers(B, T, H))
    assert all(row.ok for row in report.rows) and not report.ok
    assert len(report.broken_laws) == 2
    assert "overwrites the gradient of `weight`" in report.broken_laws[0]


class OverwritingEmbedding(Embedding):
    def backward(self, dy, ids):
        self.weight.grad[...] = 0
        super().backward(dy, ids)


class OverwritingTied(TiedLinear):
    def backward(self, dy, x):
        self.weight.grad[...] = 0
        return super().backward(dy, x)


def pretraining_report(change, mask=True):
    model = tiny.randomize(AlbertForPreTraining(CONFIG, dtype=np.float64))
    change(model)
    batch = tiny.make_batch(CONFIG, (5, 3, 4))
    if not mask:        # then padding is a word like any other, and its row has a gradient
        del batch["attention_mask"]
    return check_gradients(model, elements=8, **batch)


def test_overwriting_the_tied_table():
    """The lookup's backward comes last, so overwriting there destroys the decoder's share."""
    def overwrite(model):
        model.albert.embeddings.word_embeddings.__class__ = OverwritingEmbedding
    report = pretraining_report(overwrite)
    table = "albert.embeddings.word_embeddings.weight"
    assert_named(report, table, "Overwritten instead of added")
    assert [row.name for row in report.rows if not row.ok] == [table]

    def overwrite_first(model):
        model.predictions.decoder.__class__ = OverwritingTied
    report = pretraining_report(overwrite_first)
    assert all(row.ok for row in report.rows)
    assert report.broken_laws == [f"backward overwrites the gradient of `{table}`: a second call "
                                  "must double it. Write `+=`, not `=`."]


class PaddingIndex(Embedding):
    """PyTorch's padding_idx keeps the row of the padding token as it is."""

    def backward(self, dy, ids):
        super().backward(dy * (ids != 0)[..., None], ids)


class Forgotten(Embedding):
    def backward(self, dy, ids):
        pass


@pytest.mark.parametrize("wrong, where", [
    (PaddingIndex, "only row 0 (pad_token_id)"),
    (Forgotten, "only rows of ids that occur in the input"),
])
def test_rows_of_the_word_table(wrong, where):
    def change(model):
        model.albert.embeddings.word_embeddings.__class__ = wrong
    report = pretraining_report(change, mask=False)
    assert report["albert.embeddings.word_embeddings.weight"].where == where


# --- dropout


class Dropout(Layer):
    def __init__(self):
        self.dropout_prob = 0.25

    def forward(self, x, *, rng=None):
        return F.dropout(x, self.dropout_prob, rng)


class NoMask(Dropout):
    def backward(self, dy, scale):
        return dy


class NoScale(Dropout):
    def backward(self, dy, scale):
        return dy * (scale > 0)


class TwoMasks(Dropout):
    """Two calls of one object that keeps its mask on itself, the way it is often written."""

    def forward(self, x, *, rng=None):
        x, self.scale = F.dropout(x, self.dropout_prob, rng)
        x, self.scale = F.dropout(x, self.dropout_prob, rng)
        return x, None

    def backward(self, dy, cache):
        dy = F.dropout_backward(dy, self.scale)
        return F.dropout_backward(dy, self.scale)


@pytest.mark.parametrize("wrong, phrase", [
    (NoMask, "Right without dropout"),
    (NoScale, "oo small by the factor 1.333, perhaps 1/(1-p), p of dropout"),
    (TwoMasks, "Right without dropout"),
])
def test_dropout(wrong, phrase):
    assert_named(check_gradients(wrong(), numbers(B, T, H)), "input x", phrase)


def test_what_is_kept_on_the_layer_is_overwritten_by_the_next_application():
    report = check_gradients(TwoMasks(), numbers(B, T, H))
    assert "forward leaves `scale` on the layer" in report.broken_laws[0]


class OwnGenerator(Dropout):
    rng = np.random.default_rng(0)

    def forward(self, x, *, rng=None):
        return F.dropout(x, self.dropout_prob, self.rng)

    def backward(self, dy, scale):
        return F.dropout_backward(dy, scale)


def test_a_forward_that_cannot_be_repeated_is_not_measured():
    report = check_gradients(OwnGenerator(), numbers(B, T, H))
    assert not report.ok and report.rows == []
    assert "forward is not repeatable" in report.broken_laws[0]


# --- attention


def attention_report(layer=AlbertAttention):
    return check_gradients(layer(CONFIG, init()), numbers(B, T, H), BIAS)


def test_softmax_divided_by_batch(monkeypatch):
    right = F.softmax_backward
    monkeypatch.setattr(F, "softmax_backward", lambda dp, p: right(dp, p) / len(p))
    report = attention_report()
    for name in ("query.weight", "query.bias", "key.weight"):
        assert_named(report, name, "oo small by the factor 3, perhaps B, the batch size")
    assert_named(report, "input x", "Right for a batch of one")
    assert report["value.weight"].ok


def test_softmax_without_its_sum():
    report = check_gradients((F.softmax, lambda dp, p: p * dp), numbers(B, T, H))
    assert_named(report, "input x", "in a softmax, the term - p Σ p dp")


@pytest.mark.parametrize("power, phrase", [
    (1, "large by the factor 1.732, perhaps √D, D the head size (the scale 1/√D of the scores is "
        "left out"),
    (-1, "small by the factor 1.732, perhaps √D, D the head size (the scale 1/√D of the scores is "
         "applied twice"),
])
def test_scale_of_the_scores(monkeypatch, power, phrase):
    right = F.softmax_backward
    monkeypatch.setattr(F, "softmax_backward", lambda dp, p: right(dp, p) * 3 ** (power / 2))
    report = attention_report()
    for name in ("query.weight", "query.bias", "key.weight"):
        assert_named(report, name, phrase)


def test_attention_mask_missing_in_backward(monkeypatch):
    right = F.attention_backward

    def forgetful(d_context, cache):
        scores = cache.query @ cache.key.swapaxes(-1, -2) / 3 ** 0.5
        probs = F.softmax(scores)
        dropped = probs if cache.scale is None else probs * cache.scale
        return right(d_context, cache._replace(probs=probs, dropped=dropped))

    monkeypatch.setattr(F, "attention_backward", forgetful)
    report = attention_report()
    for name in ("input x", "query.weight", "value.weight"):
        assert_named(report, name, "Right when nothing is masked")


class NothingForPadding(AlbertAttention):
    def backward(self, dy, cache):
        return super().backward(dy, cache) * MASK[..., None]


def test_an_error_at_padded_tokens_only():
    assert attention_report(NothingForPadding)["input x"].where == "only padded tokens"


def test_a_gradient_that_is_zero_may_not_be_anything_else():
    """Softmax ignores a constant: rounding is all there is, but a thousandth would be wrong."""
    report = attention_report()
    assert report.ok and report["key.bias"].where == "zero"

    class Constant(AlbertAttention):
        def backward(self, dy, cache):
            self.key.bias.grad += 1e-3
            return super().backward(dy, cache)

    report = attention_report(Constant)
    assert [row.name for row in report.rows if not row.ok] == ["key.bias"]


# --- residual paths


class NoResidual(AlbertFeedForward):
    def backward(self, dy, cache):
        d_sum = self.LayerNorm.backward(dy, cache.norm)
        d_output = F.dropout_backward(d_sum, cache.dropout)
        d_activated = self.ffn_output.backward(d_output, cache.activated)
        return self.ffn.backward(self.act_backward(d_activated, cache.activation), cache.x)


def test_residual_around_a_layer():
    report = check_gradients(NoResidual(CONFIG, init()), numbers(B, T, H))
    assert_named(report, "input x", "the residual path, around them, is missing")
    assert [row.name for row in report.rows if not row.ok] == ["input x"]

    def forward(x):
        return x + np.tanh(x), x

    report = check_gradients((forward, lambda dy, x: dy * (1 - np.tanh(x) ** 2)), numbers(B, T, H))
    assert_named(report, "input x", "dy itself is missing: the residual path")


# --- laws


class WritesDy(Linear):
    def backward(self, dy, x):
        dx = super().backward(dy, x)
        dy *= 0.5
        return dx


class WritesCache(Linear):
    def forward(self, x):
        return super().forward(x)[0], x.copy()

    def backward(self, dy, x):
        dx = super().backward(dy, x)
        x *= 0.5
        return dx


class WritesInput(Linear):
    def forward(self, x):
        x += 1
        return super().forward(x)


class WritesWeight(Linear):
    def forward(self, x):
        y = super().forward(x)
        self.bias.data *= 1.001
        return y


class ReturnsNothing(Linear):
    def backward(self, dy, x):
        super().backward(dy, x)


@pytest.mark.parametrize("wrong, law", [
    (WritesDy, "backward writes to dy"),
    (WritesCache, "backward writes to its cache"),
    (WritesInput, "forward writes to `input x`"),
    (WritesWeight, "forward writes to `bias`"),
    (ReturnsNothing, "backward returns no gradient for `input x`"),
])
def test_laws(wrong, law):
    report = check_gradients(wrong(H, 2, init()), numbers(B, T, H))
    assert not report.ok
    assert any(law in sentence for sentence in report.broken_laws), report


def test_a_right_sum_over_too_few_axes_is_a_wrong_shape():
    class TooFew(Linear):
        def backward(self, dy, x):
            dx = super().backward(dy, x)
            self.bias.grad = dy.sum(0)
            return dx

    report = check_gradients(TooFew(H, 2, init()), numbers(B, T, H))
    assert "the gradient of `bias` has shape [5, 2] instead of [2]" in " ".join(report.broken_laws)


# --- the checker itself


def test_it_leaves_no_trace():
    layer = Linear(H, 2, Initializer(get_backend("numpy"), np.float32, 0, 0.5))
    layer.weight.grad += 7
    data, grad = layer.weight.data, layer.weight.grad
    before, x = data.copy(), numbers(B, H).astype(np.float32)
    given = x.copy()
    assert check_gradients(layer, x).ok
    assert layer.weight.data is data and layer.weight.grad is grad
    assert (data == before).all() and (grad == 7).all() and (x == given).all()
    with pytest.raises(ValueError):
        check_gradients(layer, numbers(B, H + 1))
    assert layer.weight.data is data


def test_a_kink_near_by_is_no_mistake_and_the_wrong_side_of_it_is():
    x = np.array([[-2e-6, 3e-6, -1.0, 1.0]])
    assert check_gradients((F.relu, F.relu_backward), x).ok
    report = check_gradients((F.relu, lambda dy, x: dy * (x > -5)), x)
    assert report["input x"].where == "only where it is negative"


def test_one_wrong_element_among_many_is_found():
    """Random directions see every element of a large tensor."""
    class OneWrong(Linear):
        def backward(self, dy, x):
            self.weight.grad[17, 5] += 0.01
            return super().backward(dy, x)

    report = check_gradients(OneWrong(40, 30, init()), numbers(B, 40))
    assert [row.name for row in report.rows if not row.ok] == ["weight"]


def test_an_unknown_mistake_is_still_a_mistake():
    def swish_backward(dy, cache):
        x, _ = cache
        return dy / (1 + np.exp(-1.702 * x))

    report = check_gradients((F.gelu, swish_backward), numbers(B, H))
    assert not report["input x"].ok and report["input x"].cause == ""
    assert "No known pattern:\n    input x" in str(report)


def test_the_report():
    report = check_gradients(Linear(H, 2, init()), numbers(B, H))
    report.raise_if_failed()
    lines = str(report).splitlines()
    assert lines[0] == "gradients of Linear"
    assert [line.split()[::3] for line in lines[2:5]] == [["ok", "input"], ["ok", "weight"],
                                                          ["ok", "bias"]]
    assert lines[-1] == "3 of 3 gradients right, no laws broken"
    wrong = spoiled(lambda dy, dx, dw, db: (dx, -dw, db))
    with pytest.raises(AssertionError, match="The sign is flipped:\n    weight"):
        wrong.raise_if_failed()


def test_a_model_without_labels_has_no_loss():
    model = AlbertForPreTraining(CONFIG, dtype=np.float64)
    with pytest.raises(InputError, match="pass the labels"):
        check_gradients(model, [[1, 2, 3]])


def test_an_empty_report_is_not_a_good_one():
    assert not Report("nothing", [], []).ok


def test_there_must_be_something_to_check():
    with pytest.raises(InputError, match="a gradient for input x, which holds no floating-point"):
        check_gradients((F.relu, F.relu_backward), np.arange(6).reshape(2, 3))
    with pytest.raises(InputError, match="nothing to check"):
        check_gradients((F.relu, lambda dy, x: None), np.arange(6).reshape(2, 3))


def test_embeddings_take_no_gradient_for_ids():
    layer = AlbertEmbeddings(CONFIG, init())
    report = check_gradients(layer, [[1, 2, 2], [1, 0, 3]], [[0, 1, 1], [0, 0, 1]], [[0, 1, 2]])
    assert report.ok and not any(row.name.startswith("input") for row in report.rows), report


def test_a_guess_that_the_layer_cannot_take_is_no_guess() -> None:
    """Of a batch of one, for instance, where the first axis was that of a table."""
    def lookup(table: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, Any]:
        return table[ids], (table, ids)

    def lookup_backward(dy: np.ndarray, cache: Any) -> np.ndarray:
        table, ids = cache
        d_table = np.zeros_like(table)
        d_table[ids] += dy                      # an id that comes twice is added once
        return d_table

    report = check_gradients((lookup, lookup_backward), np.ones((3, 2)), np.array([2, 2, 1]))
    assert not report.ok and not report["input table"].ok
