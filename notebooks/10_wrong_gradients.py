# %% [markdown]
# # 10 · Wrong gradients
#
# A wrong forward pass usually shows: the shapes do not fit, the answer is nonsense. A wrong backward pass hides. The
# model still learns, only less, and nobody knows how well it should have learned.
#
# This notebook is a collection. It holds broken backward passes, from single functions to a whole ALBERT. Most of
# them were found in real code, and the issue that reports it is named. For every one: **read the code, guess, then
# let the gradient checker say what it sees.** At the end come mistakes that no gradient checker can see, and what does
# see them.
#
# You need notebooks 01 to 06. About 40 minutes.

# %%
import inspect

import numpy as np

from tinyalbert import AlbertConfig, AlbertForMaskedLM, AlbertForPreTraining, check_gradients
from tinyalbert import functional as F
from tinyalbert.attention import AlbertAttention
from tinyalbert.backend import get_backend
from tinyalbert.course import check, picture
from tinyalbert.course.pictures import BLUE, MUTED, ORANGE, heatmap, new_figure
from tinyalbert.encoder import AlbertEncoder
from tinyalbert.fast import textbook
from tinyalbert.layer import Initializer, Layer
from tinyalbert.layers import Linear, TiedLinear
from tinyalbert.optim import AdamW

rng = np.random.default_rng(0)
np.set_printoptions(precision=3, suppress=True)
B, T, H = 3, 5, 6               # all different: a factor of 5 can then only be T

# %% [markdown]
# ## It trains all the same
#
# First the reason for all this. Here is a linear layer with one character missing: `=` for `+=`. In ALBERT one
# layer is applied many times. Each application should add its gradient; here each one overwrites what was there.


# %%
class OverwritingLinear(Linear):
    def backward(self, dy, x):
        dx, self.weight.grad, self.bias.grad = F.linear_backward(dy, x, self.weight.data)
        return dx


print(inspect.getsource(Linear.backward))

# %% [markdown]
# Two models with the same weights learn the same toy task: two words in turn, `a b a b a b a b`, two of the eight
# hidden. In the second model every linear map of the shared block overwrites.

# %%
WORDS, LENGTH, STEPS = 12, 8, 200
MASK_ID = WORDS
config = AlbertConfig(vocab_size=WORDS + 1, embedding_size=16, hidden_size=32, num_hidden_layers=6,
                      num_attention_heads=4, intermediate_size=64, max_position_embeddings=LENGTH,
                      initializer_range=0.1)


def in_turn(rng, batch=32):
    ids = rng.integers(0, WORDS, (batch, 2))[:, np.arange(LENGTH) % 2]      # [B, T]
    hidden = rng.random(ids.shape).argsort(-1) < 2
    return np.where(hidden, MASK_ID, ids), np.where(hidden, ids, -100)


def train(model):
    rng, losses = np.random.default_rng(1), []
    optimizer = AdamW(model.named_parameters())
    for step in range(STEPS):
        ids, labels = in_turn(rng)
        out, cache = model.forward(ids, labels=labels)
        model.zero_grad()
        model.backward(cache)
        optimizer.step(1e-3 * min(1, (step + 1) / 20))
        losses.append(float(out.loss))
    return losses


right, wrong = (AlbertForMaskedLM(config, seed=0) for _ in range(2))
block = wrong.albert.encoder.albert_layer_groups[0].albert_layers[0]
attention, feed_forward = block.attention, block.feed_forward
for linear in (attention.query, attention.key, attention.value, attention.dense,
               feed_forward.ffn, feed_forward.ffn_output):
    linear.__class__ = OverwritingLinear            # the same weights, the other backward

curves = {"right": train(right), "overwriting": train(wrong)}
for name, losses in curves.items():
    print(f"{name:11}  loss {losses[0]:.2f} at first, {np.mean(losses[45:55]):.2f} after 50 steps, "
          f"{np.mean(losses[-10:]):.2f} at the end")

# %%
figure = new_figure(6, 3)
axes = figure.subplots()
for (name, losses), colour in zip(curves.items(), (BLUE, ORANGE), strict=True):
    axes.plot(np.convolve(losses, np.ones(5) / 5, "valid"), color=colour, label=name)
axes.axhline(np.log(WORDS), color=MUTED, linewidth=0.8)
axes.text(STEPS, np.log(WORDS), "guessing", color=MUTED, fontsize=8, ha="right", va="bottom")
axes.set_xlabel("step")
axes.set_ylabel("loss, nats")
axes.legend(frameon=False)
axes.spines[["top", "right"]].set_visible(False)
picture(figure, "Two loss curves that both fall from the line of pure guessing to nearly zero, the "
                "overwriting model's a little later. Nothing in its curve says that of six "
                "applications' gradients five are thrown away.")

# %% [markdown]
# Both models solve the task. Of the six applications of the block, five lose their linear maps' gradients in the
# second model, and all that happens is that it takes a little longer. Had you only its curve, would you have looked
# for a bug? A falling loss says that the gradient points roughly downhill. It does not say that it is the gradient.
#
# This one has a history. The first video of a famous course had it in one operation; the notebook that belongs to
# it says: "NOTE: in the video I incorrectly used = instead of +=. Fixed here." (seen in
# `karpathy/nn-zero-to-hero#52`). And in `apache/mxnet#17989` somebody trained an ALBERT with other depths than
# usual and got other gradients: with its setting for adding up, the framework got a shared weight's gradient wrong,
# depending on how often it was used: "In the original ALBERT, the number of layers are 12 or 24. Both of them won't
# trigger the bug, so it took me some time to localize the issue."
#
# The checker does not even need the sharing to see it: to call backward twice must double the gradient. That is a
# *law* of the protocol.

# %%
init = Initializer(get_backend("numpy"), np.float64, seed=1, std=0.5)
x = rng.standard_normal((B, T, H))
print(check_gradients(OverwritingLinear(H, H, init), x))

# %% [markdown]
# All slopes are right. The law is broken. You will meet both kinds of evidence again.
#
# ## Why double precision
#
# Notebook 00 showed the two errors of $\frac{L(x + hv) - L(x - hv)}{2h}$. $L$ is curved, which costs about
# $\frac{h^2}{6}|L'''|$. And $L$ is rounded, to a relative $u$ (half a unit in the last digit), which costs about
# $\frac{u}{h}|L|$. One rises with $h$, the other falls. Now for the question that matters: is what remains small
# enough to tell right from wrong? Here are a layer norm's gradient, and beside it one that is too small by a
# thousandth.

# %%
xs, dys, direction = rng.standard_normal((3, 16, 32))
gains, shifts = rng.uniform(0.5, 1.5, 32), rng.standard_normal(32)
H_STEPS = 10.0 ** np.arange(-9, -1.9, 0.25)


def disagreement(dtype, factor):
    """|measured slope - factor · gradient| relative to the gradient, for each step h."""
    x, dy, v, weight, bias = (a.astype(dtype) for a in (xs, dys, direction, gains, shifts))
    with textbook():
        loss = lambda x: (dy * F.layer_norm(x, weight, bias, 1e-12)[0]).sum()
        dx = F.layer_norm_backward(dy, F.layer_norm(x, weight, bias, 1e-12)[1])[0]
        slopes = [(loss(x + dtype(h) * v) - loss(x - dtype(h) * v)) / dtype(2 * h) for h in H_STEPS]
    expected = factor * (dx * v).sum()
    return np.abs(np.array(slopes, float) - expected) / abs(expected)


errors = {(dtype.__name__, name): disagreement(dtype, factor) for dtype in (np.float32, np.float64)
          for name, factor in (("right", 1.0), ("wrong by 0.1 %", 0.999))}
for (dtype, name), error in errors.items():
    print(f"{dtype}  {name:15} best agreement {error.min():.0e} "
          f"at h = {H_STEPS[error.argmin()]:.0e}")

# %%
figure = new_figure(8, 3)
for axes, dtype in zip(figure.subplots(1, 2, sharey=True), ("float32", "float64"), strict=True):
    for name, colour in (("right", BLUE), ("wrong by 0.1 %", ORANGE)):
        axes.loglog(H_STEPS, errors[dtype, name], color=colour, label=name)
    axes.axhline(1e-6, color=MUTED, linewidth=0.8)
    axes.set_title(dtype, fontsize=10)
    axes.set_xlabel("step h")
    axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False, fontsize=8)
figure.axes[0].set_ylabel("relative disagreement")
picture(figure, "Disagreement against step size. In float32 both gradients come down along the "
                "same noisy line, cross each other, and stay above the tolerance of 1e-6. In "
                "float64 the right gradient is below the tolerance for every step under 1e-3, "
                "while the wrong one is a flat floor at 1e-3.")

# %% [markdown]
# In float32 the right gradient agrees to four digits, at one lucky step; the wrong one, at another, to three. You
# have one step and one number: which of the two do you have? In float64 there is an empty space of several orders
# of magnitude between the two, and the tolerance $10^{-6}$ stands in it. `check_gradients` therefore converts
# everything to float64 first. (Learners lose hours to this: in `pytorch/pytorch#5351` a correct linear layer
# "fails" its check, and the answer is "You're running grad checks with single precision.")
#
# Note the second lesson: a wrong gradient is a **floor**. No step makes it go away. When a
# direction disagrees, the checker tries other steps before it says "wrong".
#
# ### Exercise 1
# Take $|L| = |L'''| = 1$. The error of the quotient is $\frac{h^2}{6} + \frac{u}{h}$. Derive the step that makes it
# smallest, and give its value for float64, $u = 2^{-53}$.

# %% best_step tags=["exercise"]
best_step = ...

# %%
check("best_step", best_step)

# %% [markdown]
# ## Functions
#
# ### Specimen 1: divided twice
# A mean squared error on top of a linear map. `code2seq` had this (`tech-srl/code2seq#9`: "You already divide the
# error by the batch size"), and so had *Dive into Deep Learning* (`d2l-ai/d2l-en#1000`). Where?


# %%
def regression(x, W, b, targets):
    difference = x @ W + b - targets
    return (difference**2).mean(), (x, W, difference)


def regression_backward(d_loss, cache):
    x, W, difference = cache
    dy = d_loss * 2 * difference / difference.size
    return dy @ W.T, x.T @ dy / len(x), dy.mean(0)


# %% [markdown]
# Guess first. Then:

# %%
print(check_gradients((regression, regression_backward), *(rng.standard_normal(shape) for shape in
                                                           ((4, 3), (3, 2), 2, (4, 2)))))

# %% [markdown]
# The loss is a mean, so its backward divides; a layer only adds up. Note how the checker finds such a factor: all
# wrong numbers are the same multiple of the measured ones, and it looks for a 4 among the sizes. With $B = T = 4$
# it could not have told which.
#
# ### Specimen 2: the shares compete
# The softmax of a well-known C framework passed its gradient on as it came (`pjreddie/darknet#96`: "by simply copying
# gradient w.r.t output into gradient w.r.t. input"). This one is better, and still wrong:


# %%
def softmax_backward(d_probs, probs):
    return probs * d_probs


# %%
print(check_gradients((F.softmax, softmax_backward), x))

# %% [markdown]
# If one probability rises the others of its row fall: $p\,(dp - \sum p\,dp)$. The checker knows the pattern, for in
# every row what is missing is a multiple of the output.
#
# ### Specimen 3: the gain outside
# A wrong layer norm that passes many a test. It is right as long as every $\gamma$ is 1, and so it is right at the
# start of every training and in every test with a fresh layer.


# %%
def norm(x, weight, bias):
    return F.layer_norm(x, weight, bias, 1e-12)


def norm_backward(dy, cache):
    x_hat, inv_std, weight = cache
    dx = weight * inv_std * (dy - dy.mean(-1, keepdims=True)
                             - x_hat * (dy * x_hat).mean(-1, keepdims=True))
    return dx, (dy * x_hat).sum((0, 1)), dy.sum((0, 1))


# %%
print(check_gradients((norm, norm_backward), x, rng.uniform(0.5, 1.5, H), rng.standard_normal(H)))

# %% [markdown]
# This guess is no pattern in the numbers but an **experiment**: the checker set every gain to 1, measured again,
# and the error was gone. So the mistake has to do with the gains.
#
# ### Specimen 4: too many axes
# `flagos-ai/FlagGems#5392` (2026): forward took the mean of each row of $H$; backward took the array's first size for
# the number of rows. For $[N, H]$ that is right. For $[B, T, H]$ the means run over a whole sequence:


# %%
def flat_norm_backward(dy, cache):
    x_hat, inv_std, weight = cache
    g = dy * weight
    over = tuple(range(1, dy.ndim))             # (1,) for [N, H], but (1, 2) for [B, T, H]
    dx = inv_std * (g - g.mean(over, keepdims=True) - x_hat * (g * x_hat).mean(over, keepdims=True))
    rows = tuple(range(dy.ndim - 1))
    return dx, (dy * x_hat).sum(rows), dy.sum(rows)


# %%
gain, shift = rng.uniform(0.5, 1.5, H), rng.standard_normal(H)
print("right for [N, H]:", check_gradients((norm, flat_norm_backward), x[0], gain, shift).ok)
print(check_gradients((norm, flat_norm_backward), x, gain, shift))

# %% [markdown]
# Here the checker sees that the gradient is wrong, and its *guess* is off: what is missing in each row is a
# constant and a multiple of $\hat x$, as when the two means are left out altogether. A guess is a suspicion, not a
# proof. The word WRONG is the proof.
#
# ### Exercise 2
# Repair both: the backward pass of a layer norm of $[B, T, H]$ with $\varepsilon = 10^{-12}$, from `x` itself.


# %% repair_norm tags=["exercise"]
def repair_norm(dy, x, weight, bias):
    """dy, x [B, T, H]; weight, bias [H] -> their gradients dx, d_weight, d_bias"""
    ...


# %%
check("repair_norm", repair_norm)

# %% [markdown]
# ### Specimen 5: words that occur twice
# A lookup's way back. `HIPS/autograd#39` reported the same thing for `np.take`: "nd=2.0, ad=1.0", numeric
# derivative two, automatic derivative one.


# %%
def lookup(weight, ids):
    return weight[ids], (weight.shape, ids)


def lookup_backward(dy, cache):
    shape, ids = cache
    d_weight = np.zeros(shape)
    d_weight[ids] += dy
    return d_weight


ids = np.array([1, 4, 1, 2])

# %%
print(check_gradients((lookup, lookup_backward), rng.standard_normal((6, 3)), ids))

# %% [markdown]
# No known pattern, but a **place**: only row 1, and 1 is the id that occurs twice. `d[ids] += dy` reads all rows,
# adds, writes all rows back: of two rows for the same place the last one wins. `np.add.at` adds up. (In CuPy the
# same line is not even wrong in a reliable way: which one wins is undefined.)
#
# ### Specimen 6: another mask
# Dropout that keeps no mask but draws it when it needs it. So did the checkpointing of
# `openai/guided-diffusion#167`, which runs forward again in the backward pass ("Every stochastic layer inside the
# block, like dropout, sees a different random mask"). `allenai/OLMo-core#828` has measured what it costs: a loss of
# 2.495 where it should be 2.195.


# %%
class ForgetfulDropout(Layer):
    p = 0.25

    def forward(self, x, *, rng=None):
        return F.dropout(x, self.p, rng)[0], rng

    def backward(self, dy, rng):
        return F.dropout(dy, self.p, rng)[0]


# %%
print(check_gradients(ForgetfulDropout(), x))

# %% [markdown]
# An experiment again: without dropout the error is gone. The cure is to remember, if not the mask, then the *seed*.
# The package's own gradient checkpointing does so: each application of a layer gets a seed, and repeats itself from
# it.
#
# ### Exercise 3
# Repair it. Forward is given; it keeps nothing but the seed. $p = 0.25$.


# %%
def seeded_dropout(x, seed):
    keep = np.random.default_rng(seed).random(x.shape) >= 0.25
    return x * keep / 0.75


# %% repair_dropout tags=["exercise"]
def repair_dropout(dy, x, seed):
    """dy [...] -> dx [...], for y = seeded_dropout(x, seed)"""
    ...


# %%
check("repair_dropout", repair_dropout)

# %% [markdown]
# ### Specimens 7 and 8: two mistakes in attention
# Forward is the package's. This backward pass has two independent mistakes. $T$ tokens look at $T$ tokens, so all
# shapes fit.


# %%
N, D = 2, 3
query, key, value = rng.standard_normal((3, B, N, T, D))
real = np.arange(T) < np.array([5, 3, 4])[:, None]                      # [B, T]
hidden = np.where(real, 0.0, -10000.0)[:, None, None]                   # [B, 1, 1, T]


def attention(query, key, value, bias):
    return F.attention(query, key, value, bias, 0.0, None)


def attention_backward(d_context, cache):
    query, key, value, probs, _, _ = cache
    d_value = probs @ d_context
    d_probs = d_context @ value.swapaxes(-1, -2)
    d_scores = F.softmax_backward(d_probs, probs)
    return d_scores @ key, d_scores.swapaxes(-1, -2) @ query, d_value


# %%
print(check_gradients((attention, attention_backward), query, key, value, hidden))

# %% [markdown]
# $\sqrt 3 = 1.732$: the head size is 3, so $\frac{1}{\sqrt D}$ is missing. And `value` is off by four fifths of its
# length: the probabilities should be transposed, $dV = P^\top dC$. That $P$ is square hid it. In practice a bug
# like it lives as long as queries and keys are equally many.
#
# A wrong gradient has a shape. Here is what was claimed and what is true, for specimens 5, 4 and 8:

# %%
def true_and_claimed(forward, wrong, right, inputs, index):
    _, cache = forward(*inputs)
    dy = np.random.default_rng(2).standard_normal(np.shape(forward(*inputs)[0]))
    results = [backward(dy, cache) for backward in (wrong, right)]
    return [result[index] if isinstance(result, tuple) else result for result in results]


def lookup_right(dy, cache):
    d_weight = np.zeros(cache[0])
    np.add.at(d_weight, cache[1], dy)
    return d_weight


table = rng.standard_normal((6, 3))
specimens = {
    "5: a word twice\n[V, E]": true_and_claimed(
        lookup, lookup_backward, lookup_right, (table, ids), 0),
    "4: too many axes\n[T, H] of sequence 0": [a[0] for a in true_and_claimed(
        norm, flat_norm_backward, F.layer_norm_backward, (x, gain, shift), 0)],
    "8: not transposed\n[T, D], two padded": [a[1, 0] for a in true_and_claimed(
        attention, attention_backward, F.attention_backward, (query, key, value, hidden), 2)]}

figure = new_figure(8, 4.6)
for column, (title, (claimed, true)) in enumerate(specimens.items()):
    shown = {"claimed": claimed, "true": true, "difference": claimed - true}
    for row, (name, values) in enumerate(shown.items()):
        axes = figure.add_subplot(3, 3, 3 * row + column + 1)
        heatmap(axes, values, title=title if row == 0 else "", diverging=True)
        if column == 0:
            axes.set_ylabel(name)
picture(figure, "Three wrong gradients as heat-maps, claimed, true and their difference. The "
                "lookup's difference is one row; the layer norm's is in every row; where a matrix "
                "should have been transposed, the two padded tokens get a gradient although nobody "
                "may look at them.")

# %% [markdown]
# ### Exercise 4
# Repair attention's backward pass, now for one head and any number of queries: `query` $[Q, D]$, `key` and `value`
# $[T, D]$, and a `mask` $[T]$ with 1 where a token may be looked at. Forward is


# %%
def attend(query, key, value, mask):
    scores = query @ key.T / np.sqrt(query.shape[-1]) + (1 - mask) * -10000.0
    return F.softmax(scores) @ value


# %% repair_attention tags=["exercise"]
def repair_attention(dy, query, key, value, mask):
    """dy [Q, D] -> d_query [Q, D], d_key [T, D], d_value [T, D]"""
    ...


# %%
check("repair_attention", repair_attention)

# %% [markdown]
# ### Specimen 9: smoothed labels
# Label smoothing asks for $q = (1 - s)\cdot$onehot $+ \frac sV$ instead of a one-hot. Rows whose label is -100 ask for
# nothing. `pytorch/pytorch#73205` is called "Bug in label smoothing with ignored samples" (fixed since).


# %%
def smoothed_loss(logits, labels, s=0.1):
    p, V = F.softmax(logits), logits.shape[-1]
    q = (1 - s) * (np.arange(V) == labels[:, None]) + s / V             # [M, V]
    asked = (labels != -100)[:, None]                                   # [M, 1]
    return -(asked * q * np.log(p)).sum() / asked.sum(), (p, q, asked)


def smoothed_loss_backward(d_loss, cache):
    p, q, asked = cache
    return d_loss * (p - q) / asked.sum()


# %%
labels = np.array([1, -100, 0, 3, -100, 2, 2])
print(check_gradients((smoothed_loss, smoothed_loss_backward), rng.standard_normal((7, 4)), labels))

# %% [markdown]
# Rows 1 and 4 are the ignored ones. The place tells more than the guess, once more: **read the place first.**
#
# ### Exercise 5
# Repair it. `dy` is the number that comes from above, $s = 0.1$.


# %% repair_smoothing tags=["exercise"]
def repair_smoothing(dy, logits, labels):
    """logits [M, V], labels [M] -> d_logits [M, V]"""
    ...


# %%
check("repair_smoothing", repair_smoothing)

# %% [markdown]
# ## Layers
#
# ### Specimen 10: what one application remembers
# Most textbooks keep the input on the layer, `self.x = x`, since it is needed on the way back. Here such a layer is
# used twice in a row, as in ALBERT. `gHashTag/trinity#571` is this mistake in another language: one list for the
# inputs and outputs of all layers.


# %%
class RememberingLinear(Linear):
    def forward(self, x):
        self.x = x
        return F.linear(x, self.weight.data, self.bias.data), None

    def backward(self, dy, cache):
        return super().backward(dy, self.x)


class Twice(Layer):
    def __init__(self, linear):
        self.linear = linear

    def forward(self, x):
        y, first = self.linear.forward(x)
        z, second = self.linear.forward(y)
        return z, (first, second)

    def backward(self, dz, cache):
        first, second = cache
        return self.linear.backward(self.linear.backward(dz, second), first)


# %%
print(check_gradients(RememberingLinear(H, H, init), x))
print()
print(check_gradients(Twice(RememberingLinear(H, H, init)), x))

# %% [markdown]
# Alone the layer computes what it should, and the checker already objects: forward leaves something on the layer.
# Applied twice, the weight's gradient is wrong: both applications claim the second one's input. This is why a layer
# of the package knows nothing about a call. What a call needs is in its cache.
#
# ### Exercise 6
# $z = \tanh(\tanh(xW + b)\,W + b)$: one layer applied twice. Write its backward pass. $W$ is used twice, so it gets
# two gradients, each with its own input.


# %% repair_twice tags=["exercise"]
def repair_twice(dz, x, W, b):
    """dz, x [N, H], W [H, H], b [H] -> dx, dW, db"""
    ...


# %%
check("repair_twice", repair_twice)

# %% [markdown]
# ### Specimen 11: the missing residual
# An encoder of three layers (the same one, three times) in which a backward pass forgot that $x$ goes round
# attention too:


# %%
class NoResidual(AlbertAttention):
    def backward(self, dy, cache):
        d_sum = F.layer_norm_backward(dy, cache.norm)[0]
        return super().backward(dy, cache) - d_sum


small = AlbertConfig(vocab_size=17, embedding_size=4, hidden_size=H, num_hidden_layers=3,
                     num_attention_heads=2, intermediate_size=10, max_position_embeddings=8,
                     initializer_range=0.4)
encoder = AlbertEncoder(small, init)
suspect = encoder.albert_layer_groups[0].albert_layers[0].attention
suspect.__class__ = NoResidual
e = rng.standard_normal((B, T, small.embedding_size))
report = check_gradients(encoder, e, hidden, elements=8)
print(sum(not row.ok for row in report.rows), "of", len(report.rows), "gradients are wrong:",
      report.rows[0].name, "...", report.rows[-1].name)

# %% [markdown]
# Nearly everything is wrong, because a mistake near the end of a stack is passed down to all before it. **Check
# from the small to the large.** The layer alone says it in a sentence:

# %%
print(check_gradients(suspect, x, hidden, elements=8))

# %% [markdown]
# ## A whole model
#
# ### Specimen 12: half a table
# ALBERT's word table is used at both ends: a lookup at the bottom, the decoder on top. `paiml/entrenar#314` trained
# with a copy at the top, so each end got its own half of the gradient ("The weights diverge after step 1"); in
# `NVIDIA/Megatron-LM#1548` the top half was lost in a corner case. Let the decoder forget its half:


# %%
class ForgettingDecoder(TiedLinear):
    def backward(self, dy, x):
        kept = self.weight.grad.copy()
        dx = super().backward(dy, x)
        self.weight.grad[...] = kept
        return dx


model = AlbertForPreTraining(small, dtype=np.float64, seed=0)
model.predictions.decoder.__class__ = ForgettingDecoder
batch = rng.integers(1, 17, (B, T))
report = check_gradients(model, batch, labels=np.where(rng.random(batch.shape) < 0.5, batch, -100),
                         sentence_order_label=np.array([0, 1, 0]), elements=8)
print(report)

# %% [markdown]
# One line of many is wrong, and no pattern fits. But which rows are wrong? The decoder asks about *all* words, the
# lookup only moves those that occur. Compare with what a healthy model says:

# %%
table_name = "albert.embeddings.word_embeddings.weight"
grads = {}
for name in ("half", "whole"):
    if name == "whole":
        model.predictions.decoder.__class__ = TiedLinear
    model.zero_grad()
    _, cache = model.forward(batch, labels=np.where(batch % 2 == 0, batch, -100))
    model.backward(cache)
    grads[name] = np.linalg.norm(model.named_parameters()[table_name].grad, axis=1)
occurs = np.isin(np.arange(17), batch)
print("words that occur: ", np.flatnonzero(occurs))
for name, lengths in grads.items():
    print(f"rows without a gradient, {name:5}:", np.flatnonzero(lengths == 0))

# %% [markdown]
# With the lookup's half alone, a word that does not occur in the batch has no gradient. In the healthy model every
# row has one: each word is told not to be the answer.
#
# ### Exercise 7
# The smallest tied model: the scores of all words after $\tanh$ of a word's own row,
# `np.tanh(weight[ids]) @ weight.T`. Write the gradient of the table, both halves. Ids may occur more than once.


# %% repair_tied_table tags=["exercise"]
def repair_tied_table(dy, weight, ids):
    """dy [T, V], weight [V, E], ids [T] -> d_weight [V, E]"""
    ...


# %%
check("repair_tied_table", repair_tied_table)

# %% [markdown]
# ## What the checker cannot see
#
# A gradient check asks one question: is backward the slope of *this* forward? It never asks whether forward is what
# you meant. Here is attention with its mask **after** the softmax, as a popular image library had it
# (`huggingface/pytorch-image-models#2236`: "The mask should be applied before the softmax."), with a matching
# backward pass:


# %%
def late_mask(query, key, value, keep):
    probs = F.softmax(query @ key.swapaxes(-1, -2) / np.sqrt(query.shape[-1]))
    return (probs * keep) @ value, (query, key, value, probs, keep)


def late_mask_backward(d_context, cache):
    query, key, value, probs, keep = cache
    d_probs = d_context @ value.swapaxes(-1, -2) * keep
    d_scores = F.softmax_backward(d_probs, probs) / np.sqrt(query.shape[-1])
    d_value = (probs * keep).swapaxes(-1, -2) @ d_context
    return d_scores @ key, d_scores.swapaxes(-1, -2) @ query, d_value


keep = (hidden == 0).astype(float)
print(check_gradients((late_mask, late_mask_backward), query, key, value, keep))

# %% [markdown]
# All right, and all wrong. What catches it is another kind of test, a **law of the forward pass**: *padding changes
# nothing.* Sequence 1 has three tokens and two of padding. Computed alone, without the padding, its three vectors
# must be the same.

# %%
def padding_matters(attend, mask):
    batch, _ = attend(query, key, value, mask)
    alone, _ = attend(*(a[1:2, :, :3] for a in (query, key, value)), mask[1:2, ..., :3])
    return np.abs(batch[1:2, :, :3] - alone).max()


print(f"mask before the softmax: {padding_matters(attention, hidden):.1e}")
print(f"mask after the softmax:  {padding_matters(late_mask, keep):.1e}")

# %% [markdown]
# More that passes every gradient check, and what sees it:
#
# | mistake | found in | what sees it |
# |---|---|---|
# | $\frac1{\sqrt D}$ missing in *forward* | `mlc-ai/mlc-llm#3426`: a cosine of 0.862 to the right vectors | a reference |
# | `x = x + x` for a residual | `kyegomez/BitNet#32` | a reference; reading |
# | residual taken from the wrong place | `strutive07/transformer-tensorflow2.0#14` | a reference; reading |
# | a mean of means over unlike batches | `ml-explore/mlx-lm#1413`, `huggingface/transformers#34191` | split a batch |
# | $\gamma$, $\beta$ that never learn | `harvard-edge/cs249r_book#1504` | count the parameters that moved |
#
# The fourth is worth a look, since every part of it is right. Two small batches, one with 6 labels and one with
# 2, against the same rows as one batch:

# %%
logits, labels = rng.standard_normal((8, 4)), rng.integers(0, 4, 8)


def gradient(rows):
    loss, cache = F.cross_entropy(logits[rows], labels[rows])
    return F.cross_entropy_backward(1.0, cache)


whole = gradient(slice(0, 8))
parts = [gradient(slice(0, 6)), gradient(slice(6, 8))]
mean_of_means = np.concatenate(parts) / 2
weighted = np.concatenate([parts[0] * 6 / 8, parts[1] * 2 / 8])
for name, joined in {"mean of two means": mean_of_means, "weighted by labels": weighted}.items():
    error = np.linalg.norm(joined - whole) / np.linalg.norm(whole)
    print(f"{name:18} off by {error:.0%}")

# %% [markdown]
# ## What the package does differently, and why
#
# * `tinyalbert gradcheck` checks a whole tiny `AlbertForPreTraining` from the command line, with a full, a padded
#   and an empty sequence. No two of its sizes are equal, so no factor and no transposition can hide behind another.
# * While it checks, gains and biases are moved away from 1 and 0. At the initial values specimen 3 would be right.
# * `dy` is random. With `dy = 1` the gradient of a fresh layer norm's input is zero, and zero equals zero.
# * The tests of the checker are broken layers: it must fail on each and name it. Its hypotheses are small functions
#   in `gradcheck/diagnosis.py`, ten at present. "No known pattern" is an invitation to write the eleventh.
# * Against what no gradient check can see stand other tests: comparisons with PyTorch tensor by tensor, the law of
#   padding, a batch split in two. The package has one mean of means itself, over accumulated batches, and says so
#   (notebook 09).

# %%
from tinyalbert.gradcheck.diagnosis import HYPOTHESES

print(len(HYPOTHESES), "hypotheses:", ", ".join(guess.__name__ for guess in HYPOTHESES))

# %% [markdown]
# **Next:** with gradients that can be trusted, what the pretrained model is for: fine-tuning.
