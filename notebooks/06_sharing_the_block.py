# %% [markdown]
# # 06 · The block, and sharing it
#
# > The default decision for ALBERT is to share all parameters across layers. (Lan et al., section 3.1)
#
# You have the parts: linear maps, GELU, LayerNorm, attention. Put together they are **the block**, and a Transformer is
# the block, many times. BERT gives each time its own weights. ALBERT has *one* block and applies it twelve times:
# twelve caches on the way up, twelve gradients on the way down, one weight that gets them all.
#
# This notebook builds the block and its backward pass, shows what it means for a weight to be used more than once,
# measures what each use contributes, and ends with a trick that saves memory without changing a bit.
#
# You need: notebooks 01, 02, 04 and 05. About 40 minutes.

# %%
import inspect
import re

import numpy as np

from tinyalbert import AlbertConfig, AlbertForMaskedLM, AlbertForPreTraining, check_gradients
from tinyalbert import functional as F
from tinyalbert.attention import AlbertAttention
from tinyalbert.backend import get_backend
from tinyalbert.course import check, picture
from tinyalbert.course.pictures import BLUE, MUTED, ORANGE, SKY, heatmap, new_figure
from tinyalbert.data.corpus import read_documents
from tinyalbert.encoder import AlbertEncoder, AlbertLayer
from tinyalbert.feed_forward import AlbertFeedForward
from tinyalbert.layer import Initializer
from tinyalbert.optim import AdamW, clip_by_global_norm
from tinyalbert.paper import TABLES, exact_counts
from tinyalbert.params import activation_bytes, parameter_table
from tinyalbert.report.introspection import gradient_of_each_application

rng = np.random.default_rng(0)
np.set_printoptions(precision=2, suppress=True)

# %% [markdown]
# ## The residual: a fork forwards is a sum backwards
#
# Both halves of the block have the same frame: compute something from $x$, **add $x$ itself**, normalize.
#
# $$y = \mathrm{norm}\bigl(x + f(x)\bigr), \qquad f = \text{attention, then } f = \text{feed-forward}.$$
#
# At the plus sign $x$ arrives by two roads: around $f$ and through it. The chain rule adds up over all roads. With
# $s = x + f(x)$,
#
# $$\frac{\partial L}{\partial x} = \underbrace{\frac{\partial L}{\partial s}}_{\text{around}}
#   + \underbrace{\frac{\partial L}{\partial s}\,\frac{\partial f}{\partial x}}_{\text{through } f}
#   \qquad\text{or in code}\qquad \texttt{dx = ds + f\_backward(ds)}.$$
#
# Both roads begin with the same $ds$, which is what comes out of the norm's backward pass, and not $dy$.

# %%
x, W = rng.standard_normal((4, 3)), rng.standard_normal((3, 3))


def scaled(x, W):
    return x + 2 * (x @ W), (x, W)


def scaled_backward(dy, cache):
    x, W = cache
    return dy + 2 * (dy @ W.T), 2 * x.T @ dy


print(check_gradients((scaled, scaled_backward), x, W))

# %% [markdown]
# ### Exercise 1
# The backward pass of $y = x + \tanh(xW)$. (The slope of $\tanh u$ is $1 - \tanh^2 u$.)


# %% residual_backward tags=["exercise"]
def residual_backward(dy, x, W):
    """dy [N, H], x [N, H], W [H, H] -> dx, dW"""
    ...


# %%
check("residual_backward", residual_backward)

# %% [markdown]
# ### What the road around is for
# Stack 24 feed-forward halves with random weights of their own, and follow a gradient down: with residual and norm,
# with one of them, with neither.

# %%
H, depth = 64, 24
gain, shift = np.ones(H), np.zeros(H)
weights = [(rng.standard_normal((H, 4 * H)) / np.sqrt(H),
            rng.standard_normal((4 * H, H)) / np.sqrt(4 * H)) for _ in range(depth)]


def gradient_lengths(residual, norm):
    """The length of the gradient of every layer's input, first layer first."""
    x, caches = rng.standard_normal((32, H)), []
    for W1, W2 in weights:
        a, gelu_cache = F.gelu(x @ W1)
        x = residual * x + a @ W2
        x, norm_cache = F.layer_norm(x, gain, shift, 1e-12) if norm else (x, None)
        caches.append((gelu_cache, norm_cache))
    d, lengths = rng.standard_normal(x.shape), []
    for (W1, W2), (gelu_cache, norm_cache) in zip(reversed(weights), reversed(caches), strict=True):
        ds = F.layer_norm_backward(d, norm_cache)[0] if norm else d
        d = residual * ds + F.gelu_backward(ds @ W2.T, gelu_cache) @ W1.T
        lengths.append(np.linalg.norm(d))
    return np.array(lengths[::-1])


figure = new_figure(6.5, 3)
axes = figure.subplots()
for name, residual, norm, colour in (("residual and norm", 1, 1, BLUE), ("norm alone", 0, 1, SKY),
                                     ("residual alone", 1, 0, ORANGE), ("neither", 0, 0, MUTED)):
    lengths = gradient_lengths(residual, norm)
    axes.semilogy(range(1, depth + 1), lengths, color=colour, label=name)
    print(f"{name:<18} layer 1 gets {lengths[0] / lengths[-1]:.1e} of what layer 24 gets")
axes.set_xlabel("layer", color=MUTED)
axes.set_title("length of the gradient of the layer's input", fontsize=10, loc="left")
axes.legend(frameon=False)
axes.spines[["top", "right"]].set_visible(False)
picture(figure, "Length of the gradient at each of 24 layers, on a logarithmic axis. With residual "
        "and norm it is nearly the same everywhere, with the norm alone within a small factor. "
        "With the residual alone it grows on the way down, and with neither it falls by many "
        "powers of ten.")

# %% [markdown]
# With neither, every layer multiplies the gradient by about the same factor below 1, and 24 equal factors are a
# catastrophe. The residual alone makes it a factor above 1. The norm keeps the length, with the residual or without.
#
# What, then, is the residual for? It lets a layer begin as *almost nothing*. With a small $f$, $x + f(x)$ is nearly
# $x$: what came in at the bottom is still there at the top, and a deep stack begins as a shallow one. Without the road
# around, the norm makes a small $f$ large again. Make the weights smaller, and compare bottom and top:

# %%
bottom = F.layer_norm(rng.standard_normal((32, H)), gain, shift, 1e-12)[0]
for name, residual in (("residual and norm", 1), ("norm alone", 0)):
    for size in (1, 0.1):
        x = bottom
        for W1, W2 in weights:
            f = size * F.gelu(x @ W1)[0] @ W2
            x = F.layer_norm(residual * x + f, gain, shift, 1e-12)[0]
        cosine = (bottom * x).sum(-1).mean() / H                            # both have length √H
        print(f"{name:<18} f times {size:<4} cosine of bottom and top {cosine:5.2f}")

# %% [markdown]
# ## The block
#
# Here is the feed-forward half as the package has it, and the block's backward pass. Read each backward pass as the
# forward pass from the last line to the first:

# %%
print(inspect.getsource(AlbertFeedForward.forward))
print(inspect.getsource(AlbertFeedForward.backward))
print(inspect.getsource(AlbertLayer.backward))

# %% [markdown]
# The norm comes *after* the sum. BERT and ALBERT have it so (**post-norm**); many later models normalize the input of
# $f$ instead.
#
# ### Exercise 2
# The whole feed-forward half: $y = \mathrm{norm}(x + \mathrm{gelu}(xW_1 + b_1)W_2 + b_2)$ with gain and shift. Compute
# what you need from the forward pass again. You may use everything in `F`:
#
# * `F.linear(x, W, b)` returns $y$ alone, and `F.linear_backward(dy, x, W)` returns `dx, dW, db`;
# * `F.gelu(x)` returns $y$ and a cache, and `F.gelu_backward(dy, cache)` returns `dx`;
# * `F.layer_norm(x, gain, shift, 1e-12)` returns $y$ and a cache, and `F.layer_norm_backward(dy, cache)` returns
#   `dx, d_gain, d_shift`.


# %% block_backward tags=["exercise"]
def block_backward(dy, x, W1, b1, W2, b2, gain, shift):
    """-> dx, dW1, db1, dW2, db2, d_gain, d_shift"""
    ...


# %%
check("block_backward", block_backward)

# %% [markdown]
# The package's block, with attention and dropout, on two sequences of three tokens. (The second argument is attention's
# bias: 0, nothing is masked.)

# %%
config = AlbertConfig(vocab_size=11, embedding_size=4, hidden_size=6, num_attention_heads=2,
                      intermediate_size=10, num_hidden_layers=3, max_position_embeddings=8,
                      hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1,
                      initializer_range=0.4)
init = Initializer(get_backend("numpy"), np.float64, seed=0, std=0.4)
block = AlbertLayer(AlbertAttention(config, init), AlbertFeedForward(config, init))
report = check_gradients(block, rng.standard_normal((2, 3, 6)), np.zeros((2, 1, 1, 3)))
print(str(report).splitlines()[-1])

# %% [markdown]
# ## One weight, several gradients
#
# Now apply something *twice*. The smallest case has one number $w$ and no bends:
# $y = w \cdot (w \cdot (w \cdot x)) = w^3 x$. You know the answer: $dy/dw = 3w^2x$. Where do three times come from?
# Give the three uses names of their own:
#
# $$y = w_3 w_2 w_1 x, \qquad \frac{\partial y}{\partial w_1} = w_3 w_2 x, \quad
#   \frac{\partial y}{\partial w_2} = w_3 w_1 x, \quad \frac{\partial y}{\partial w_3} = w_2 w_1 x,$$
#
# and set all to $w$: three contributions of $w^2 x$. In general, for $L(w_1, \dots, w_n)$ with all $w_l = w$,
#
# $$\frac{dL}{dw} = \sum_{l} \frac{\partial L}{\partial w_l}\,\frac{dw_l}{dw}
#   = \sum_{l} \frac{\partial L}{\partial w_l},$$
#
# because every $\frac{dw_l}{dw}$ is 1. **A shared weight's gradient is the sum of the gradients that its uses would
# have as separate weights.** It is a sum, no mean: if $w$ moves, all of them move.

# %%
w, x = 1.5, 2.0
inputs, y = [], x
for _ in range(3):
    inputs.append(y)                            # every use has an input of its own
    y = w * y
dy, dw = 1.0, 0.0
for number, x_l in zip((3, 2, 1), reversed(inputs), strict=True):
    print(f"use {number}: input {x_l:.2f}, what arrives from above {dy:.2f}, contributes "
          f"{x_l * dy:.2f}")
    dw += x_l * dy
    dy = dy * w
print(f"together {dw:.2f}; 3 w² x is {3 * w**2 * x:.2f}")

# %% [markdown]
# ### The version that fails
# Every use has an input of its *own*. Many a home-made layer keeps its input on itself, and it works until somebody
# applies the layer twice:


# %%
class Forgetful:
    def __init__(self, W):
        self.W, self.dW = W, np.zeros_like(W)

    def forward(self, x):
        self.x, self.y = x, np.tanh(x @ self.W)     # overwritten by the next call
        return self.y

    def backward(self, dy):
        du = dy * (1 - self.y**2)
        self.dW += self.x.T @ du
        return du @ self.W.T


def twice(x, W):
    layer = Forgetful(W)
    return layer.forward(layer.forward(x)), layer


def twice_backward(dy, layer):
    return layer.backward(layer.backward(dy)), layer.dW


print(check_gradients((twice, twice_backward), rng.standard_normal((4, 3)),
                      rng.standard_normal((3, 3))))

# %% [markdown]
# This is why in this course `forward` returns a cache. Weights belong to the layer, the memory of a call to the call:
# *twelve caches, one gradient*.
#
# ### Exercise 3
# Apply $x \leftarrow \tanh(xW)$ `depth` times with the same $W$. Write the backward pass: run forward once and keep
# what you need, then go down.


# %% shared_backward tags=["exercise"]
def shared_backward(dy, x, W, depth):
    """dy [N, H], x [N, H], W [H, H], depth a whole number -> dx, dW"""
    ...


# %%
check("shared_backward", shared_backward)

# %% [markdown]
# ## The encoder
#
# `applications()` lists the layers in the order in which they are applied; a shared one is listed repeatedly. The way
# up appends caches, the way down takes them off. (What is `Remembered` you will see at the end of this notebook.)

# %%
print(inspect.getsource(AlbertEncoder.backward))
model = AlbertForPreTraining(config, dtype=np.float64)
layers = model.albert.encoder.applications()
print(len(layers), "applications of", len({id(layer) for layer in layers}), "layer")

# %% [markdown]
# ### Equal to an untied copy
# What the theorem says can be tested to the last digits. Take a model with shared layers and a second one in which
# every layer has its own weights, *with the same values*. Both must say the same, and the three separate gradients must
# add up to the shared one:

# %%
untied = AlbertForPreTraining(config.replace(sharing="none"), dtype=np.float64)
shared = dict(model.walk())
for name, parameter in untied.named_parameters().items():
    original = re.sub(r"layer_groups\.\d+", "layer_groups.0", name)
    parameter.data[...] = shared[original].data

batch = {"input_ids": np.array([[2, 5, 4, 7, 3], [2, 9, 9, 4, 3]]),
         "labels": np.array([[-100, -100, 6, -100, -100], [-100, 9, -100, 8, -100]]),
         "sentence_order_label": np.array([0, 1])}                          # notebook 07
for m in (model, untied):
    m.zero_grad()
    out, cache = m.forward(**batch)
    m.backward(cache)
    print(f"loss {out.loss:.15f}")

groups = untied.albert.encoder.albert_layer_groups
for name in ("attention.query.weight", "feed_forward.ffn.weight"):
    ours = shared[f"albert.encoder.albert_layer_groups.0.albert_layers.0.{name}"].grad
    theirs = [group.named_parameters()[f"albert_layers.0.{name}"].grad for group in groups]
    print(f"{name:<26} lengths {[round(float(np.linalg.norm(g)), 4) for g in theirs]}, "
          f"sum minus shared: {np.abs(sum(theirs) - ours).max():.0e}")

# %% [markdown]
# ## How much does each application contribute?
#
# This can be measured, before a training and after it. Take a task that a small model learns in seconds. From the
# messages of the presidents, cut windows of five **letters**, hide the middle one, and let a block that is applied six
# times guess it from the other four. Two lines to compare with need no network: the loss of knowing how frequent each
# letter is, and that of a table of all triples, which knows the letter before and the letter after.

# %%
letters = "_ abcdefghijklmnopqrstuvwxyz"                            # _ hides a letter
messages = " ".join(sentence for document in list(read_documents("sotu"))[::8]
                    for sentence in document)
text = np.array([letters.index(c) for c in re.sub("[^a-z]+", " ", messages.lower())])
V, T = len(letters), 5


def windows(count):
    ids = text[rng.integers(0, len(text) - T, count)[:, None] + np.arange(T)]   # [B, T]
    middle = np.arange(T) == T // 2
    return {"input_ids": np.where(middle, 0, ids), "labels": np.where(middle, ids, -100)}


def entropy(counts):
    p = counts[counts > 0] / counts.sum()
    return -(p * np.log(p)).sum()


frequency = np.bincount(text, minlength=V) / len(text)
triples = np.zeros((V, V, V))
np.add.at(triples, (text[:-2], text[1:-1], text[2:]), 1)
by_neighbours = entropy(triples) - entropy(triples.sum(1))          # H(all three) - H(both ends)
test = windows(1000)
print(f"{len(text):,} letters, for example", repr("".join(letters[i] for i in text[:48])))
print(f"knows frequencies {entropy(frequency):.2f}, knows both neighbours {by_neighbours:.2f}")

# %% [markdown]
# The package has a function that makes an untied copy as we did and returns the contribution $g_l$ of each application
# as a row of one array. Their sum $g$ is the gradient of the block. How much of it is due to application $l$? Project
# $g_l$ on $g$: the shares
#
# $$\frac{g_l \cdot g}{g \cdot g} \qquad\text{add up to}\qquad \frac{g \cdot g}{g \cdot g} = 1,
#   \qquad\text{because}\quad g = \sum_l g_l.$$

# %%
config = AlbertConfig(vocab_size=V, embedding_size=64, hidden_size=64, num_hidden_layers=6,
                      num_attention_heads=4, intermediate_size=256, max_position_embeddings=T,
                      initializer_range=1 / 8)                      # 1/√H


def new_model(sharing):
    model = AlbertForPreTraining(config.replace(sharing=sharing), seed=0)
    model.predictions.bias.data[...] = np.log(frequency + 1e-6)     # begin by knowing frequencies
    return model


def cosines(parts):
    unit = parts / np.linalg.norm(parts, axis=1, keepdims=True)
    return unit @ unit.T


def contributions(model):
    """The gradient that each application adds to the block's, [L, P], and its share of the sum"""
    parts = gradient_of_each_application(model, test).astype(np.float64)
    together = parts.sum(0)
    lengths = np.linalg.norm(parts, axis=1)
    print("lengths", lengths, f"of their sum {np.linalg.norm(together):.2f}; "
          f"if all pointed the same way {lengths.sum():.2f}, "
          f"if they were perpendicular {np.linalg.norm(lengths):.2f}")
    shares = parts @ together / (together @ together)
    print("shares ", shares, "sum", shares.sum().round(6))
    print("cosines of the first with the others", cosines(parts)[0],
          f"smallest of all {cosines(parts).min():.2f}")
    return parts, shares


model = new_model("all")
parts, shares = contributions(model)

# %% [markdown]
# Neighbours agree to a degree, and the cosine falls with the distance: the first application and the last want
# unrelated things of the same weights. The sum is longer than it would be if all were perpendicular, and more than
# twice as long as any of its parts. (Clipping and Adam make up for that: notebook 08.)
#
# ### 300 steps later
# Now train it. For comparison, train a model with six layers of their own. Beside the gradients, look at what happens
# to the vectors: by what **angle** does each application turn a token's vector? The paper's Figure 1 shows the cosine
# of this angle.


# %%
def directions(model):
    """Every token's vector at length 1: before the first application and after each, L+1 of [n, H]"""
    states = model(test["input_ids"], output_hidden_states=True).hidden_states
    return [h.reshape(-1, 64) / np.linalg.norm(h, axis=-1).reshape(-1, 1) for h in states]


def angles(model):
    unit = directions(model)
    return np.array([np.degrees(np.arccos(np.clip((a * b).sum(-1), -1, 1))).mean()
                     for a, b in zip(unit, unit[1:], strict=False)])


def train(model):
    optimizer = AdamW(model.named_parameters(), betas=(0.9, 0.98))          # notebook 08
    for step in range(300):
        out, cache = model.forward(**windows(128))
        model.zero_grad()
        model.backward(cache)
        clip_by_global_norm(model.named_parameters(), 1.0)
        optimizer.step(1e-3 * min(1, (step + 1) / 50))


def report(name, model):
    turned = angles(model)
    alike = np.linalg.norm(directions(model)[-1].mean(0))**2        # the mean of all u·v
    print(f"{name:<14} {model.num_parameters():>7,} parameters, loss "
          f"{model(**test).masked_lm_loss:.2f}, degrees {turned.round(0)}, "
          f"cosine of two tokens at the top {alike:.2f}")
    return turned


turned = {"shared, before": report("shared, before", model)}
train(model)
turned["shared, after"] = report("shared, after", model)
untied = new_model("none")
train(untied)
turned["not shared, after"] = report("not shared", untied)
parts_after, shares_after = contributions(model)

# %%
for window in (" t_e ", "co_gr", "qu_st", "go_er"):
    ids = np.array([[letters.index(c) for c in window]])
    logits = model(ids).prediction_logits[0, T // 2]
    print(window, "->", " ".join(f"{letters[i]!r} {p:.0%}" for i, p in
                                 sorted(enumerate(F.softmax(logits)), key=lambda x: -x[1])[:3]))

# %% [markdown]
# The block is sure where the neighbours leave no choice, and divided or wrong where they do. Its loss is far below the
# line of frequencies and near that of both neighbours. The six layers of their own are a little ahead, with almost five
# times the parameters.

# %%
figure = new_figure(9, 3)
left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1, 1.25))
names = [str(i + 1) for i in range(6)]
for axes, title, rows in ((left, "cosines before", parts), (middle, "cosines after", parts_after)):
    image = heatmap(axes, cosines(rows), names, names, title, diverging=True)
figure.colorbar(image, ax=middle, shrink=0.8)
right.bar(np.arange(1, 7) - 0.2, shares, 0.4, color=MUTED, label="before")
right.bar(np.arange(1, 7) + 0.2, shares_after, 0.4, color=BLUE, label="after")
right.set_title("share of the block's gradient", fontsize=10, loc="left")
right.set_ylim(0, 0.32)
right.set_xticks(range(1, 7))
right.set_xlabel("application", color=MUTED)
right.legend(frameon=False, ncols=2)
right.spines[["top", "right"]].set_visible(False)
picture(figure, "Left: two maps of the cosines between the six contributions, before and after "
        "training, nearly alike. Red fades with the distance from the diagonal, to white in the "
        "corners. Right: bars of the shares. Before training they rise from the first application "
        "to the last; after it they fall.")

# %% [markdown]
# The two maps are nearly alike: neighbours want similar things of the weights, and those far apart unrelated ones,
# trained or not. The shares have turned round. Before training most of the gradient came from the upper half.
# Afterwards the first application has the most to say, three times as much as the last. (This is one small model and no
# law. Here no two applications pull in opposite directions; elsewhere they may.)

# %%
figure = new_figure(9, 3)
left, right = figure.subplots(1, 2)
for (name, degrees), colour in zip(turned.items(), (MUTED, BLUE, ORANGE), strict=True):
    left.plot(range(1, 7), degrees, color=colour, marker="o", markersize=4, label=name)
left.set_xlabel("application", color=MUTED)
left.set_title("angle between input and output (degrees)", fontsize=10, loc="left")
left.set_ylim(bottom=0)
left.legend(frameon=False, fontsize=8.5)

losses = []
for count in range(1, 13):
    more = AlbertForPreTraining(config.replace(num_hidden_layers=count))
    more.load_state_dict(model.state_dict())                        # the same weights fit any count
    losses.append(more(**test).masked_lm_loss)
right.plot(range(1, 13), losses, color=BLUE, marker="o", markersize=4)
for height, place, name in ((entropy(frequency), 6.3, "knows frequencies"),
                            (by_neighbours, 2.5, "knows both neighbours")):
    right.axhline(height, color=MUTED, linewidth=1)
    right.text(place, height + 0.04, name, ha="center", fontsize=8, color=MUTED)
right.set_xlabel("applications of the trained block", color=MUTED)
right.set_xticks(range(1, 13))
right.set_title("loss", fontsize=10, loc="left")
for axes in (left, right):
    axes.spines[["top", "right"]].set_visible(False)
picture(figure, "Left: degrees by which each application turns the vectors. Shared, before training: "
        "from above 50 steadily down to 10. Shared, after: down as well, but no further than "
        "about 22. Not shared: above 50 in every layer. Right: the loss of the trained block "
        "over the number of times it is applied. It is a valley with its lowest point at six.")

# %%
print(f"best number of applications: {1 + int(np.argmin(losses))}")
many = AlbertForPreTraining(config.replace(num_hidden_layers=48))
many.load_state_dict(model.state_dict())
print(f"applied 48 times: loss {many(**test).masked_lm_loss:.2f}, "
      f"the last application turns by {angles(many)[-1]:.0f} degrees")

# %% [markdown]
# **One map applied over and over is a dynamical system.** In the new model it runs towards a fixed point: every
# application turns the vectors less than the one before, and the tokens become alike. Training has changed that. The
# turns level off instead of vanishing, even at the 48th application, and tokens stay different to the top. Layers with
# weights of their own turn the vectors by more, and about equally in every layer. It is what the paper saw at full
# size: the transitions "are much smoother for ALBERT than for BERT", and yet "they nevertheless do not converge to 0
# even after 24 layers" (section 3.1).
#
# The right half can only be drawn for a shared block: its weights fit any number of applications. They work best in the
# number that they were trained in. What the block has learned is one computation in six steps, not an improvement that
# could be repeated: a seventh does harm.
#
# ## What is shared: four ways
#
# > There are multiple ways to share parameters, e.g., only sharing feed-forward network (FFN) parameters across layers,
# > or only sharing attention parameters. (section 3.1)
#
# To share a half means to pass the *same object*. Here is what each way stores, for ALBERT-base with $E = 128$, and the
# average scores of the paper's Table 4:

# %%
# paper, Table 4, Avg
averages = {"all": 80.1, "attention": 81.7, "feed-forward": 80.2, "nothing": 81.6}
for row in TABLES["Table 4: sharing (ALBERT-base)"][4:]:
    shared_part = row.model.split(", ")[1]
    pooled = exact_counts(row.config)[1]
    small = AlbertEncoder(AlbertConfig(vocab_size=5, embedding_size=4, hidden_size=4,
                                       num_attention_heads=2, intermediate_size=8,
                                       num_hidden_layers=12, sharing=row.config.sharing), init)
    halves = [{id(getattr(layer, half)) for layer in small.applications()}
              for half in ("attention", "feed_forward")]
    print(f"shared: {shared_part:<13} {len(halves[0]):>2} attentions, {len(halves[1]):>2} "
          f"feed-forward networks,{pooled:>12,} parameters, Avg {averages[shared_part]}")

# %% [markdown]
# > most of the performance drop appears to come from sharing the FFN-layer parameters (section 4.5)
#
# Sharing attention alone costs nothing here, but it saves little: most of a block is its feed-forward network.
#
# ### Exercise 4
# In ALBERT-base ($H = 768$, $F = 3072$, 12 layers) only attention is shared. How many parameters do the twelve layers
# have together, without embeddings and pooler? An attention half has four maps $H \times H$ with biases and a norm
# (gain and shift), a feed-forward half two maps with biases and a norm.

# %% shared_attention_parameters tags=["exercise"]
shared_attention_parameters = ...

# %%
check("shared_attention_parameters", shared_attention_parameters)

# %% [markdown]
# ### Groups
# Between one layer and twelve there are groups: $G$ sets of weights, each for a run of neighbouring layers. Layer $i$
# (from 0) belongs to group $\lfloor i\,G/L \rfloor$ (rounded down). Twelve layers in three groups: 0 0 0 0 1 1 1 1 2 2
# 2 2.
#
# ### Exercise 5
# Write it. There is a trap: reference codes compute $i / L \cdot G$ in floating point and round down, and for some $L$
# that puts a layer into the wrong group. Stay with whole numbers.


# %% group_of_layer tags=["exercise"]
def group_of_layer(layers, groups):
    """A list: the group of each layer, counted from 0."""
    ...


# %%
check("group_of_layer", group_of_layer)

# %% [markdown]
# ## What sharing does not save, and what does
#
# Parameters are shared. Computation is not: twelve applications are twelve applications. Nor is the memory of the
# caches. A training step of ALBERT-base on 8 sequences of 512 tokens:

# %%
base = TABLES["Table 1: the models"][2].config
unshared = base.replace(sharing="none")
hidden = 77                                                         # 15 % of 512 tokens
for name, config_ in (("one block, shared", base), ("twelve blocks", unshared)):
    print(f"{name:<18} weights {4 * sum(parameter_table(config_).values()) / 1e9:.2f} GB, "
          f"caches {8 * activation_bytes(config_, 512, hidden) / 1e9:.2f} GB")

# %% [markdown]
# **Gradient checkpointing** (Chen et al. 2016) saves those. Keep of each application only its *input*; when the way
# down reaches it, run its forward pass again, use the cache, throw it away. Only one full cache exists at a time:

# %%
kept = 8 * activation_bytes(base, 512, hidden) / 1e9
recomputed = 8 * activation_bytes(base, 512, hidden, recompute=True) / 1e9
print(f"caches {kept:.2f} GB, recomputed {recomputed:.2f} GB: {kept / recomputed:.1f} times less")

figure = new_figure(6, 2.8)
axes = figure.subplots()
depths = [1, 3, 6, 12, 24]
for recompute, colour, name in ((False, BLUE, "keep every cache"),
                                (True, ORANGE, "keep inputs, recompute")):
    deeper = [base.replace(num_hidden_layers=n) for n in depths]
    axes.plot(depths, [8 * activation_bytes(model, 512, hidden, recompute) / 1e9 for model in deeper],
              color=colour, marker="o", label=name)
axes.set_xlabel("applications of the block", color=MUTED)
axes.set_title("memory of the caches (GB)", fontsize=10, loc="left")
axes.set_xticks(depths)
axes.legend(frameon=False)
axes.spines[["top", "right"]].set_visible(False)
picture(figure, "Memory against the number of applications. Keeping every cache rises steeply in a "
        "straight line; keeping inputs and recomputing rises so slowly that it is nearly flat.")

# %% [markdown]
# Dropout seems to spoil it: run again, it would drop other elements, and the gradient would belong to another network.
# So each application draws a *seed*, and the seed is kept with the input. Then the second run is the first one to the
# last bit:

# %%
results = {}
for checkpointing in (False, True):
    small = AlbertForMaskedLM(config.replace(hidden_dropout_prob=0.1,
                                             attention_probs_dropout_prob=0.1,
                                             gradient_checkpointing=checkpointing), seed=0)
    out, cache = small.forward(**test, rng=np.random.default_rng(5))
    small.backward(cache)
    results[checkpointing] = {name: p.grad for name, p in small.named_parameters().items()}
print("all", len(results[True]), "gradients have the same bits:",
      all(np.array_equal(results[True][name], results[False][name]) for name in results[True]))

# %% [markdown]
# ### Exercise 6
# What is the price? Count the matrix products: a map $y = xW$ has one on the way up, and two on the way down ($dx$ and
# $dW$). By what factor does the arithmetic of a training step grow when every application's forward pass is run twice?

# %% recomputing_cost tags=["exercise"]
recomputing_cost = ...

# %%
check("recomputing_cost", recomputing_cost)

# %% [markdown]
# ## What the package does differently, and why
#
# * The last application works for fewer tokens: in training only the hidden words and `[CLS]` are asked for, so the
#   last layer computes their rows alone (the argument `rows`). The memory figures above count that.
# * `AlbertLayer` is two halves and not one piece, because sharing one half (Table 4) is then nothing but passing the
#   same object.
# * Dropout before the sum is where Google has it. The PyTorch port of Hugging Face builds the one after the
#   feed-forward network and never calls it; `dropout_sites` chooses.
# * With `inner_group_num` an application can run several different blocks in a row. No published model uses it.
#
# **Next:** a model that can be trained needs something to be trained on. Notebook 07 hides words and swaps sentences.
