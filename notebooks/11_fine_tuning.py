# %% [markdown]
# # 11 · Fine-tuning
#
# > Many nontrivial NLP tasks, including those that have limited training data, have greatly benefited from these
# > pre-trained models. (Lan et al., section 1)
#
# Nobody wants to know a hidden word. People want to know what a text is about, who is named in it, what answers a
# question, what it comes to. The bet of pretraining is that a model which had to guess words has learned something
# that serves for all of these, so that a few hundred examples are enough for the rest.
#
# In this notebook you take one small encoder and put it to four tasks. Each needs a **head**, a handful of new
# parameters on top, and a few seconds of training. And each gets a **baseline**, something simple that knows nothing
# of Transformers. In one of the tasks the simple thing wins. You will see why.
#
# You need: notebooks 01, 02, 07 to 09. The cells take about two minutes on two cores, the text about 40.

# %%
import inspect
from collections import Counter
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from tinyalbert import (
    AlbertConfig,
    AlbertForPreTraining,
    AlbertForQuestionAnswering,
    AlbertForSeq2SeqLM,
    AlbertForSequenceClassification,
    AlbertForTokenClassification,
    check_gradients,
    train_tokenizer,
)
from tinyalbert import functional as F
from tinyalbert.course import check, picture
from tinyalbert.course.pictures import BLUE, MUTED, ORANGE, SKY, heatmap, new_figure
from tinyalbert.data.batches import PretrainingBatches, held_out_batches
from tinyalbert.data.corpus import read_documents
from tinyalbert.data.masking import Masking
from tinyalbert.data.segments import Segments
from tinyalbert.data.tokenizing import build_shards
from tinyalbert.finetuning.classification import Classification
from tinyalbert.finetuning.config import RECIPES, FinetuneConfig
from tinyalbert.finetuning.demos import demo_examples
from tinyalbert.finetuning.entities import Entities
from tinyalbert.finetuning.finetuned import begin
from tinyalbert.finetuning.questions import Questions
from tinyalbert.finetuning.squad import Answer, QuestionExample
from tinyalbert.finetuning.trainer import Trainer, layer_rates
from tinyalbert.optim import AdamW, clip_by_global_norm, learning_rate
from tinyalbert.pretraining.metrics import Means
from tinyalbert.report.finetuning_figures import confusion_matrix
from tinyalbert.report.saliency import saliency
from tinyalbert.seq2seq import seq2seq_mask

folder = TemporaryDirectory()
trunk, fresh = Path(folder.name, "trunk"), Path(folder.name, "fresh")

# %% [markdown]
# ## The trunk: less than a minute of pretraining
#
# The loop is notebook 09's: masked words, short sequences first, then longer ones with sentence order as well. The
# text is all messages of the presidents and all plays of Shakespeare.

# %%
documents = [*read_documents("sotu"), *read_documents("shakespeare")]
trunk.mkdir()
tokenizer = train_tokenizer(chain.from_iterable(documents[::8]), trunk, vocab_size=2000)
Path(folder.name, "text.txt").write_text("\n\n".join(map("\n".join, documents)), "utf-8")
train, held_out = build_shards(Path(folder.name, "text.txt"), tokenizer, folder.name,
                               one_sentence_per_line=True).split(30)
counts = train.unigram_counts()
config = AlbertConfig(vocab_size=2000, embedding_size=64, hidden_size=96, num_hidden_layers=2,
                      num_attention_heads=4, intermediate_size=384, max_position_embeddings=64,
                      initializer_range=0.1)
model = AlbertForPreTraining(config, seed=0)
for name in (trunk, fresh):                     # as it begins, for comparison
    model.save_pretrained(name)
tokenizer.save_pretrained(fresh)

model.predictions.bias.data[...] = np.log((counts + 1) / counts.sum())
STEPS, LENGTHS, TOKENS = 850, (8, 8, 16, 32, 64), 1536
streams = [PretrainingBatches(train, Segments(length, "none" if length < 12 else "sop"),
                              Masking("token", 0.25), batch_size=TOKENS // length)
           for length in LENGTHS]
optimizer = AdamW(model.named_parameters(), betas=(0.9, 0.98))
for step in range(STEPS):
    batch = next(streams[step * len(LENGTHS) // STEPS])
    _, cache = model.forward(**batch._asdict())
    model.backward(cache)
    clip_by_global_norm(optimizer.parameters, 1.0)
    optimizer.step(learning_rate(step, STEPS, STEPS // 10, 3e-3))
    model.zero_grad()
model.save_pretrained(trunk)

means = Means()
for batch in held_out_batches(held_out, Segments(64, "none"), batch_size=32, max_batches=20):
    means.add_output(model.forward(**batch._asdict())[0], batch)
frequency = counts[counts > 0] / counts.sum()
print(f"{model.num_parameters():,} parameters, {STEPS * TOKENS / 1e6:.1f} million tokens seen")
print(f"held-out loss {means.take()['masked_lm_loss']:.2f} nats, "
      f"by frequencies alone {-(frequency * np.log(frequency)).sum():.2f}")

# %% [markdown]
# A modest model. The paper's have seen 262 billion tokens (notebook 09).
#
# ## What a head is
#
# The encoder gives a vector of $H$ numbers for each token. A head is what turns vectors into the numbers that are
# asked for, and it is nearly always *one linear map*:
#
# | task | reads | the head | answers |
# |---|---|---|---|
# | a label for a text | the pooled [CLS], $[B, H]$ | $H \times K$ | $[B, K]$ |
# | a label for each word | every token, $[B, T, H]$ | $H \times K$ | $[B, T, K]$ |
# | where an answer stands | every token | $H \times 2$ | $[B, T, 2]$ |
# | a text for a text | every token | the masked-LM head | $[B, T, V]$ |
#
# What is new in each, and how small it is beside the trunk:

# %%
heads = {"a label of 4": AlbertForSequenceClassification(config.replace(num_labels=4)),
         "3 labels for each word": AlbertForTokenClassification(config.replace(num_labels=3)),
         "an answer": AlbertForQuestionAnswering(config),
         "a text": AlbertForSeq2SeqLM(config)}
known = set(model.named_parameters())
for name, model_ in heads.items():
    new = {key: p.data.size for key, p in model_.named_parameters().items() if key not in known}
    print(f"{name:<24}{sum(new.values()):>5} new of {model_.num_parameters():,}   {', '.join(new)}")

# %% [markdown]
# The first head has a part that is not counted there: the **pooler**, $\tanh(x_{[CLS]} W_p + b_p)$, which pretraining
# trained for sentence order. With it the logits of a text are
#
# $$p = \tanh(x_{0} W_p + b_p), \qquad z = p\,W + b, \qquad x_0\ [B, H],\quad z\ [B, K].$$
#
# Backwards, from the last line to the first (notebook 01):
#
# $$dp = dz\,W^\top, \quad dW = p^\top dz, \quad db = \textstyle\sum_B dz, \qquad du = dp \odot (1 - p^2),$$
# $$dx_0 = du\,W_p^\top, \quad dW_p = x_0^\top du, \quad db_p = \textstyle\sum_B du$$
# $$dx_t = 0 \text{ for all other } t.$$
#
# The last equation is the interesting one. Nothing arrives at the other tokens *from the head*. What they learn comes
# through [CLS]: it attended to them, and attention's backward pass (notebook 05) hands its gradient on.
#
# ### Exercise 1
# Write it.


# %% head_backward tags=["exercise"]
def head_backward(dy, x, Wp, bp, W, b):
    """dy [B, K], x [B, T, H], Wp [H, H], W [H, K] -> dx, dWp, dbp, dW, db"""
    ...


# %%
check("head_backward", head_backward)

# %% [markdown]
# In the package the head's backward pass is three lines, and below them lies the encoder's. A gradient check through
# all of it, embeddings and all:

# %%
print(inspect.getsource(AlbertForSequenceClassification.backward))
tiny = AlbertForSequenceClassification(
    AlbertConfig(vocab_size=12, embedding_size=3, hidden_size=4, num_hidden_layers=2, num_labels=3,
                 num_attention_heads=2, intermediate_size=6, max_position_embeddings=5,
                 initializer_range=0.5), dtype=np.float64)
report = check_gradients(tiny, input_ids=np.array([[2, 7, 5, 3], [2, 9, 3, 0]]),
                         attention_mask=np.array([[1, 1, 1, 1], [1, 1, 1, 0]]),
                         labels=np.array([0, 2]))
print(str(report).splitlines()[-1])

# %% [markdown]
# ## Task 1: a label for a text
#
# A paragraph of a president's message; in which half-century was it written? Other messages are kept for the test.

# %%
rng = np.random.default_rng(0)


def some(examples, n):
    return [examples[i] for i in rng.permutation(len(examples))[:n]]


periods = [some(part, n) for part, n in zip(demo_examples("sotu-period", "classify"), (4000, 1000),
                                            strict=True)]
print(Counter(example.label for example in periods[0]))
print(periods[0][0].label, "|", periods[0][0].text[:300], "...")


# %% [markdown]
# One training loop for all tasks, with the package's pieces: `begin` reads the trunk and puts a fresh head on it,
# `Trainer.step` is forward, backward, clip and step, with the rate that `FinetuneConfig` says.

# %%
def fine_tune(task, examples, steps, start=trunk, **settings):
    """A model that answers, after so many steps on the examples, and the losses on the way."""
    finetuned = begin(task, start, backend="numpy", seed=0, max_length=None)
    config = FinetuneConfig(max_steps=steps, **settings)
    features = task.features(finetuned.tokenizer, examples, finetuned.max_length)
    trainer, losses = Trainer(finetuned.model, task, finetuned.tokenizer, config, features), []
    for _ in range(steps):
        trainer.step()
        losses.append(trainer.means(1.0)["loss"])
    return finetuned, losses


task = Classification.of_examples(periods[0])
by_period, losses = fine_tune(task, periods[0], 300, learning_rate=1e-3)
metrics, answers = by_period.evaluate(periods[1])
print("fine-tuned:", {name: round(value, 3) for name, value in metrics.items()})
print("baseline: ", *task.baseline(*periods))

# %% [markdown]
# Much better than always naming the most frequent half-century. Now the other baseline, which takes a second and no
# network: count words, and fit a logistic regression to the counts.

# %%
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

vectorizer = TfidfVectorizer(sublinear_tf=True)
counted = vectorizer.fit_transform([example.text for example in periods[0]])
regression = LogisticRegression(C=10).fit(counted, [example.label for example in periods[0]])
labels = [example.label for example in periods[1]]
for name, texts in (("the whole paragraph", [example.text for example in periods[1]]),
                    ("its first 48 words", [" ".join(example.text.split()[:48]) for example in periods[1]])):
    print(f"bag of words, {name}: {regression.score(vectorizer.transform(texts), labels):.3f}")
for label, weights in zip(regression.classes_, regression.coef_, strict=True):
    print(f"  {label}: {', '.join(vectorizer.get_feature_names_out()[np.argsort(-weights)[:7]])}")

# %% [markdown]
# The bag of words wins, and not by a little. It has every word as a feature of its own, and here *words themselves*
# give the answer away, as the lists show. Our model has 2,000 pieces, and what it learned of English in less than a
# minute. That it sees only 64 tokens of each paragraph explains less than a third of the gap: with 48 words the bag of
# words is still far ahead.
#
# **Never report a fine-tuned model without such a line.** `docs/finetuning.md` has three public data sets, with the
# same verdict on two of them for a small model. A published ALBERT may turn it round; that, too, has to be measured.
#
# ### Where it errs

# %%
names = task.labels
confusion = np.zeros((4, 4), int)
for example, answer in zip(periods[1], answers, strict=True):
    confusion[task.ids[example.label], task.ids[answer["label"]]] += 1
print(confusion)
picture(confusion_matrix(names, confusion), "A matrix of four half-centuries by four answers. Most counts "
        "lie on or next to the diagonal; the last half-century is the one best told.", dpi=80)

# %% [markdown]
# Mistakes go to the neighbours: a language does not change on the first of January 1850. The oldest half-century, which
# has the fewest paragraphs, is called by its neighbour's name more often than by its own.
#
# Accuracy is the trace over the sum, and it hides what a model does with the rarer labels. **Macro F1** asks for each
# label by itself. Let $c_{kj}$ be the number with label $k$ that were called $j$; then
#
# $$F_1(k) = \frac{2\,c_{kk}}{\sum_j c_{kj} + \sum_j c_{jk}}, \qquad \text{macro } F_1 = \frac1K \sum_k F_1(k),$$
#
# the harmonic mean of precision (of those *called* $k$) and recall (of those that *are* $k$).
#
# ### Exercise 2
# Write it. A label that nobody is called has $F_1 = 0$.


# %% macro_f1 tags=["exercise"]
def macro_f1(counts):
    """counts [K, K]: the row's label called the column's -> a number"""
    ...


# %%
check("macro_f1", macro_f1)

# %% [markdown]
# ### What an answer came from
#
# A gradient says what to change; it can also say what *mattered*. Let $e_t$ be the word vector of token $t$, and $p$
# the probability of the answer. Make the vector longer by a small share $\delta$. To first order $\log p$ rises by
# $\delta\,s_t$, with
#
# $$s_t = e_t \cdot \frac{\partial \log p}{\partial e_t}.$$
#
# This is **gradient times input**, and all that it takes is a backward pass that goes on to the
# embeddings. (`tinyalbert.report.saliency`: it hands the word vectors in, as `inputs_embeds`, and gets their gradient
# out.) Of a paragraph that the model has right but is not sure of; where $p$ is near 1, $\log p$ is flat, and there is
# nothing to see:

# %%
right = [i for i, (example, answer) in enumerate(zip(periods[1], answers, strict=True))
         if answer["label"] == example.label]
chosen = min(right, key=lambda i: abs(answers[i]["score"] - 0.7))
example = periods[1][chosen]._replace(label=None)
feature, = task.features(by_period.tokenizer, [example], by_period.max_length)
scores = saliency(by_period, feature, task.ids[answers[chosen]["label"]])
pieces = [piece.replace("▁", "") or "▁" for piece in
          by_period.tokenizer.convert_ids_to_tokens(feature["input_ids"])]
print(f"{answers[chosen]['label']}, {answers[chosen]['score']:.0%}")
print("for:    ", ", ".join(f"{pieces[i]} {scores[i]:+.3f}" for i in np.argsort(-scores)[:6]))
print("against:", ", ".join(f"{pieces[i]} {scores[i]:+.3f}" for i in np.argsort(scores)[:6]))

figure = new_figure(9, 2.2)
axes = figure.subplots()
axes.bar(range(len(pieces)), scores, color=[BLUE if score > 0 else ORANGE for score in scores])
axes.set_xticks(range(len(pieces)), pieces, rotation=90, fontsize=7, parse_math=False)
axes.axhline(0, color=MUTED, linewidth=0.6)
axes.set_title("gradient times input", loc="left", fontsize=9)
axes.spines[["top", "right"]].set_visible(False)
axes.tick_params(length=0)
picture(figure, "A bar for each piece of a paragraph, up where it speaks for the answer, down where "
                "against. A few pieces have long bars, most have next to none.", dpi=90)

# %% [markdown]
# Read it as a hint, not as a proof: it is the slope at one point of something that is very much not a line.
#
# ## Task 2: a label for each word
#
# Shakespeare's stage directions, in small letters: *enter duke frederick, lords, orlando, charles, and attendants*.
# Which words are names? The editions print them in capitals, so the labels are free. A label is `B` (a name begins),
# `I` (it goes on) or `O` (no name); a word of several pieces bears its label on the first. What counts is whole names:
# F1 over them, right only if both ends are.

# %%
directions, new_plays = demo_examples("shakespeare-names", "ner")
task = Entities.of_examples(directions)
for word, tag in zip(directions[7].words, directions[7].tags, strict=True):
    print(f"{word}/{tag}", end=" ")


def f1_of(finetuned, examples=new_plays):
    return finetuned.evaluate(examples)[0]["f1"]


by_name, by_name_losses = fine_tune(task, directions, 250, learning_rate=2e-3)
dictionary = task.baseline(directions, new_plays)[1]["f1"]
beginnings = [{word for example in part for word, tag in zip(example.words, example.tags, strict=True)
                 if tag == "B-NAME"} for part in (directions, new_plays)]
print(f"\n\nof {len(beginnings[1])} words that begin a name in the new plays "
      f"{len(beginnings[1] - beginnings[0])} begin none in the others")
print(f"F1 {f1_of(by_name):.3f}; each word's most frequent tag: {dictionary:.3f}")

# %% [markdown]
# Here the model wins. The plays of the test are *other* plays, with many names of their own, and a dictionary has
# nothing to say about a new word. The model can: what stands behind "enter", between commas, before "and his train" is
# a name, whatever it is. This is a **pattern in context**, and that is what an encoder has over a count.
#
# A warning, since it is the commonest way to fool oneself. Had we kept back directions of the *same* plays, drawn at
# random, the dictionary would have looked like this:

# %%
mixed = some(directions, len(directions))
print(f"dictionary on directions of the same plays: {task.baseline(mixed[200:], mixed[:200])[1]['f1']:.3f}, "
      f"on new plays: {dictionary:.3f}")

# %% [markdown]
# Nothing has changed but the split. Ask of every test set what it shares with the training set.
#
# ### What pretraining was for
#
# Now the question that the whole notebook hangs on. The same training, begun from the trunk and from random weights,
# with 100, 400 and all 1,752 directions:

# %%
numbers, curves = (100, 400, len(directions)), {"pretrained": [], "from scratch": [], "dictionary": []}
for n in numbers:
    few = mixed[:n]
    for name, start in (("pretrained", trunk), ("from scratch", fresh)):
        finetuned, _ = fine_tune(task, few, 250, start, learning_rate=2e-3)
        curves[name].append(f1_of(finetuned))
    curves["dictionary"].append(task.baseline(few, new_plays)[1]["f1"])

figure = new_figure(5.6, 3)
axes = figure.subplots()
for (name, values), colour in zip(curves.items(), (BLUE, SKY, ORANGE), strict=True):
    print(f"{name:<14}", " ".join(f"{value:.3f}" for value in values))
    axes.semilogx(numbers, values, "o-", color=colour, label=name)
axes.set_xticks(numbers, [f"{n:,}" for n in numbers])
axes.minorticks_off()
axes.set_xlabel("examples to learn from", fontsize=9)
axes.set_ylabel("F1 on new plays", fontsize=9)
axes.set_ylim(0, 1)
axes.legend(frameon=False, fontsize=8.5)
axes.spines[["top", "right"]].set_visible(False)
picture(figure, "F1 over the number of examples, three rising lines. The pretrained model lies highest "
                "at every number, the one from scratch below it, the dictionary lowest.")

# %% [markdown]
# So little guessing of words is worth a great many examples: with 100 directions the pretrained model is ahead of the
# other with all 1,752. This is what "limited training data" in the paper's sentence means. (Be as strict here as above:
# the trunk has read *all* plays, those of the test too. Nobody told it what a name is, but it has met the names. How
# much of the lead is owed to that, we have not measured.)
#
# ## With what rate?
#
# Fine-tuning is the same walk downhill, with two differences. You stand already in a good place, and can destroy it.
# And two strangers walk together: an encoder that knows something and a head that knows nothing. In the first steps
# the head is random, so what it sends down is noise, and a large step on noise spoils what was learned.

# %%
rates, spread = (3e-5, 3e-4, 2e-3, 2e-2), []
figure = new_figure(8, 2.9)
left, panel = figure.subplots(1, 2, width_ratios=(1, 1.3))
for rate, colour in zip(rates, (MUTED, SKY, BLUE, ORANGE), strict=True):
    finetuned, losses = (by_name, by_name_losses) if rate == 2e-3 else fine_tune(
        task, directions, 250, learning_rate=rate)
    spread.append(f1_of(finetuned))
    panel.plot(np.convolve(losses, np.ones(15) / 15, "valid"), color=colour, label=f"{rate:g}")
    print(f"rate {rate:g}: F1 {spread[-1]:.3f}")
left.semilogx(rates, spread, "o-", color=BLUE)
left.axhline(dictionary, color=ORANGE, linewidth=1)
left.set_ylim(0, 1)
left.set_xlabel("peak rate", fontsize=9)
left.set_ylabel("F1 on new plays", fontsize=9)
panel.set_xlabel("step", fontsize=9)
panel.set_ylabel("training loss", fontsize=9)
panel.set_ylim(bottom=0)
panel.legend(frameon=False, fontsize=8.5, title="peak rate", title_fontsize=8.5)
for axes in (left, panel):
    axes.spines[["top", "right"]].set_visible(False)
picture(figure, "Left: F1 over the rate on a logarithmic axis rises, is highest in the middle and falls "
                "again at the largest rate; a line marks the dictionary. Right: training losses; the "
                "smallest rate falls slowly, the largest stays high.")

# %% [markdown]
# Too small, and little is learned in the time. Too large, and what pretraining had brought is thrown away: the model
# falls back to where the one *from scratch* was, or below. Look at its loss: quick at first, and then it stays high.
# The right rate depends on the width. The paper's own are these, for models of $H = 768$ to $4096$ (its Table 14, the
# package's recipes):

# %%
print("paper:", ", ".join(f"{name} {RECIPES[name].learning_rate:g}" for name in
                          ("cola", "sst-2", "mnli", "squad-v1.1", "race")))
print("the package's default by width:",
      ", ".join(f"H {width}: {FinetuneConfig().peak_rate(width):.1e}" for width in (96, 256, 768, 2048)))

# %% [markdown]
# Three more precautions, from gentle to drastic:
#
# * **Warmup.** The rate rises from 0 during the first tenth, so that the head has learned something before the
#   encoder is moved in earnest.
# * **Layer decay.** The lower a layer, the more general what it knows, and the less it should move: rate
#   $\eta\,\delta^{h}$ at height $h$ below the head.
# * **Freezing.** The encoder does not move at all. Only the head learns, on vectors as they are: cheap, since the
#   backward pass ends at the head, and safe.
#
# ### Exercise 3
# Layer decay for an encoder whose layers have `groups` sets of parameters: the head has rate 1, the top set $\delta$,
# the next $\delta^2$, ..., and the embeddings lie one below the lowest. Give them from the embeddings up. (ALBERT has
# one set: its twelve layers are one height. BERT-base has twelve.)


# %% relative_rates tags=["exercise"]
def relative_rates(groups, decay):
    """-> an array [groups + 2]: embeddings, the sets of the layers from the bottom up, head"""
    ...


# %%
check("relative_rates", relative_rates)

# %%
rates_of = layer_rates(by_name.model.named_parameters(), groups=1, decay=0.8)
print({round(rate, 2): sum(value == rate for value in rates_of.values())
       for rate in sorted(set(rates_of.values()))},
      "tensors")
for name, settings in (("as above", None), ("no warmup", {"warmup_ratio": 0.0}),
                       ("layer decay 0.5", {"layer_decay": 0.5}),
                       ("frozen", {"freeze_encoder": True, "learning_rate": 5e-3})):
    finetuned = by_name if settings is None else fine_tune(
        task, directions, 250, **{"learning_rate": 2e-3, **settings})[0]
    print(f"{name:<18}F1 {f1_of(finetuned):.3f}")
finetuned, _ = fine_tune(task, directions, 250, fresh, learning_rate=5e-3, freeze_encoder=True)
print(f"{'frozen, random':<18}F1 {f1_of(finetuned):.3f}")

# %% [markdown]
# Differences of a few hundredths between single runs say nothing: above, the same model with the same directions in
# another order had 0.720 in place of 0.738. (Notebook 12 is about how to tell.) So: whether the
# rate warms up makes no difference that you could see here. Letting the lower layers move less does not help either:
# the trunk has little to lose, and in ALBERT there are only three heights. Both are insurance for large models, which
# at their first large step can end in a place where they give the same answer to everything.
#
# The frozen rows are worth a longer look. The head alone is far behind a model that may move. But compare the two: on a
# random encoder it does worse than a dictionary, on the pretrained one better. The difference between these two rows is
# *what pretraining put into the vectors*, as a linear map can read it.
#
# ## Task 3: two scores for every token
#
# To answer a question *from a text* is to point: here it begins, there it ends. The head is $H \times 2$. Its first
# column scores each token as the first of the answer, its second as the last, and the softmax runs **over the tokens**:
# the classes are places. With $z = xW\ [B, T, 2]$, the answer from $s_b$ to $e_b$, and $\mathrm{CE}$ the cross-entropy
# of notebook 02,
#
# $$L = \tfrac12\,\frac1B\sum_b \bigl[\mathrm{CE}(z_{b \cdot 0}, s_b) + \mathrm{CE}(z_{b \cdot 1}, e_b)\bigr], \qquad
#   \frac{\partial L}{\partial z_{bt0}} = \frac{1}{2B}\,\bigl(\mathrm{softmax}_t(z_{b \cdot 0}) - [t = s_b]\bigr),$$
#
# and likewise for the end. Below that there is a linear map: $dx = dz\,W^\top$, $dW = \sum_{b,t} x_{bt}^\top dz_{bt}$.
#
# ### Exercise 4
# From the loss back to $x$ and $W$.


# %% span_loss_backward tags=["exercise"]
def span_loss_backward(d_loss, x, W, starts, ends):
    """d_loss a number, x [B, T, H], W [H, 2], starts, ends [B] -> dx, dW"""
    ...


# %%
check("span_loss_backward", span_loss_backward)

# %% [markdown]
# At the end a pair must be chosen: $i \le j$, at most so many tokens, with the largest $z_{i0} + z_{j1}$. Two argmaxes
# will not do. They may stand in the wrong order, and the best *pair* need not contain the best start.
#
# ### Exercise 5
# Find it. (The array of all sums is `start[:, None] + end`.)


# %% best_span tags=["exercise"]
def best_span(start, end, longest):
    """start, end [T]: scores; longest: tokens of an answer at most -> (first, last), both included"""
    ...


# %%
check("best_span", best_span)

# %% [markdown]
# Our texts are the stage directions again, with two questions for each: *who is named first?* and *who is named last?*
# To get them right a model must know a name **and** read the question.


# %%
def questions(examples):
    asked = []
    for number, example in enumerate(examples):
        begins = [i for i, tag in enumerate(example.tags) if tag == "B-NAME"]
        for question, i in (("who is named first ?", begins[0]), ("who is named last ?", begins[-1])):
            stop = i + 1
            while stop < len(example.tags) and example.tags[stop] == "I-NAME":
                stop += 1
            answer = Answer(" ".join(example.words[i:stop]), len(" ".join([*example.words[:i], ""])))
            if len(begins) > 1:
                asked.append(QuestionExample(question, " ".join(example.words), (answer,), str(number)))
    return asked


asked, new_asked = questions(directions), questions(new_plays)
task = Questions()
by_answer, _ = fine_tune(task, asked, 350, learning_rate=2e-3)
metrics, found = by_answer.evaluate(new_asked)
print(f"{len(asked):,} questions to learn from, {len(new_asked)} new ones")
print("fine-tuned:", {name: round(value, 3) for name, value in metrics.items()})
print("baseline: ", *task.baseline(asked, new_asked))
for i in range(4):
    print(f"  {new_asked[i].question} {new_asked[i].context[:60]} -> {found[i]['answer']!r}, "
          f"right: {new_asked[i].answers[0].text!r}")

# %% [markdown]
# Exact means every letter; F1 counts shared words. The package's baseline looks for capitals and numbers, and there are
# none in these texts, so it is no opponent here. A rule from someone who has seen a few directions is a fairer one: the
# word after "enter" is the first name; the word after the last "and" is the last.
#
# And does the model read the question, or does it name just anybody? Both questions have the same text, so hide one
# from it: give it "first" where "last" was asked.

# %%
def by_rule(example):
    words = example.context.split()
    if "first" in example.question:
        return words[1]
    return words[-words[::-1].index("and")] if "and" in words[:-1] else words[-1]


rule = np.mean([by_rule(example) == example.answers[0].text for example in new_asked])
swapped = [example._replace(question=example.question.replace("last", "first"))
           for example in new_asked]
blind = by_answer.evaluate(swapped)[0]
print(f"exact: the rule {rule:.3f}; the model {metrics['exact']:.3f}; "
      f"with every question made \"first\" {blind['exact']:.3f}")

example = new_asked[2]
figure = new_figure(8, 2)
for axes, question in zip(figure.subplots(1, 2), ("first", "last"), strict=True):
    feature, = task.features(by_answer.tokenizer, [example._replace(
        question=f"who is named {question} ?", answers=None)], 64)
    batch = task.batch([feature], by_answer.tokenizer.pad_token_id)
    out = by_answer.model(**batch)
    both = np.stack([F.softmax(out.start_logits)[0], F.softmax(out.end_logits)[0]])     # [2, T]
    heatmap(axes, both, ["start", "end"], [piece.replace("▁", "") or "▁" for piece in
            by_answer.tokenizer.convert_ids_to_tokens(feature["input_ids"])],
            f"who is named {question} ?")
    axes.set_aspect("auto")
picture(figure, "Probabilities of start and end over the tokens of one stage direction, for the question "
                "with first and the one with last. They lie on different names.")

# %% [markdown]
# It reads. Made to answer the wrong question it loses about half of its right answers, those to the questions that
# were changed. And it is ahead of the rule, which takes the "attendants" in "and
# attendants" for a name.
#
# Why does so small a model manage this, when real question answering is out of its reach (`docs/finetuning.md`: F1 .10
# on XQuAD, against .21 for the name nearest to the question's words)? Because here the answer is a pattern in place,
# and there it takes knowing what words mean.
#
# ## Task 4: a text for a text
#
# An encoder does not write. Its tokens see each other, and who sees the next word need not guess it. But *who sees
# whom* is a mask. Let the text be a source and a target, `[CLS] source [SEP] target [SEP]`, and let
#
# * every token look at the source,
# * a target token also at the target up to itself,
# * and nobody else at the target.
#
# Then no target token knows what comes after it, and can be asked for that (UniLM, Dong et al. 2019). The encoder, the
# weights and the masked-LM head stay as they are.
#
# ### Exercise 6
# Write the mask from the types: 0 for the source, 1 for the target.


# %% who_looks tags=["exercise"]
def who_looks(types):
    """types [T], 0s and then 1s -> [T, T]: 1 where the token in the row may look at the column's"""
    ...


# %%
check("who_looks", who_looks)

# %%
types = np.array([[0] * 5 + [1] * 4])
figure = new_figure(3.6, 3)
axes = figure.subplots()
tokens = ["[CLS]", "a", "b", "c", "[SEP]", "b", "d", "e", "[SEP]"]
heatmap(axes, seq2seq_mask(types)[0], tokens, tokens, "who looks (row) at whom")
picture(figure, "A nine by nine mask. The five source columns are filled in every row; of the four target "
                "columns only a triangle in the target's own rows is.")

# %% [markdown]
# Summing up in words of its own is beyond a model of this size. What it can learn in seconds is to *select and copy*,
# which is half of every summary. Ten pieces of the speeches are the source; the target is every second one of them.

# %%
SOURCE = 10


def pieces_of(shards):
    parts = []
    for shard in shards:
        for document in shard.documents:
            bounds = shard.sentence_bounds(document)
            parts.append(shard.tokens[bounds[0]:bounds[-1]])
    return np.concatenate(parts).astype(np.int64)


def sources_and_targets(pieces, batch, rng):
    """ids and types [B, T] of [CLS] source [SEP] target [SEP], and the targets."""
    source = pieces[rng.integers(len(pieces) - SOURCE, size=(batch, 1)) + np.arange(SOURCE)]
    target = source[:, 1::2]
    cls, sep = (np.full((batch, 1), token) for token in (tokenizer.cls_token_id, tokenizer.sep_token_id))
    ids = np.hstack([cls, source, sep, target, sep])
    return ids, np.broadcast_to(np.arange(ids.shape[1]) >= SOURCE + 2, ids.shape).astype(int), target


writer = AlbertForSeq2SeqLM.from_pretrained(trunk)
optimizer, losses = AdamW(writer.named_parameters(), betas=(0.9, 0.98)), []
pieces, new_pieces = pieces_of(train), pieces_of(held_out)
for step in range(350):
    ids, types, _ = sources_and_targets(pieces, 64, rng)
    out, cache = writer.forward(ids, None, types, labels=ids)
    writer.backward(cache)
    clip_by_global_norm(optimizer.parameters, 1.0)
    optimizer.step(learning_rate(step, 350, 35, 2e-3))
    writer.zero_grad()
    losses.append(float(out.loss))

ids, _, target = sources_and_targets(new_pieces, 200, rng)
written = writer.generate(ids[:, :SOURCE + 2], eos_token_id=tokenizer.sep_token_id,
                          max_new_tokens=SOURCE // 2 + 1)[:, :SOURCE // 2]
print(f"exactly right on held-out text: {(written == target).all(1).mean():.1%}; "
      f"the first five pieces instead: {(ids[:, 1:6] == target).all(1).mean():.1%}")
print("source: ", tokenizer.decode(ids[0, 1:SOURCE + 1]))
print("written:", tokenizer.decode(written[0]))

# %%
figure = new_figure(8, 2.8)
curve, panel = figure.subplots(1, 2, width_ratios=(1.2, 1))
curve.plot(losses, color=BLUE)
curve.set_xlabel("step", fontsize=9)
curve.set_ylabel("loss, nats", fontsize=9)
curve.spines[["top", "right"]].set_visible(False)
ids, types, _ = sources_and_targets(new_pieces, 50, rng)
out = writer.albert(ids, seq2seq_mask(types), types, output_attentions=True)
looks = np.mean(out.attentions[-1], 0)[:, SOURCE + 1:-1, 1:SOURCE + 1]          # [N, targets, source]
sharpest = looks.max(-1).mean(-1).argmax()
heatmap(panel, looks[sharpest], [*(f"writes {i + 1}" for i in range(SOURCE // 2)), "ends"],
        [str(i + 1) for i in range(SOURCE)], f"head {sharpest + 1}, last application")
picture(figure, "Left: the loss falls from about nine to near zero, most of it in the first 150 "
                "steps. Right: attention of one head from each place that writes to the ten source pieces; "
                "a staircase, two pieces to the right for each place further down.")

# %% [markdown]
# On text that it has never seen, nearly every copy is right to the last piece, and the picture shows how: one head has
# become a pointer. Wherever it writes, it looks at the piece that comes next, two further on each time, and the rest of
# the model passes it through. Nobody told it to; the loss did.
#
# The places were always the same, which is why it took seconds. To select by *what* the words are takes longer:
# `sotu-telegram`, a sentence without its small words, is learned in a minute or two (`docs/finetuning.md`). And a
# summary in words of its own takes a large model and very many examples.
#
# ## What the package does differently, and why
#
# * `finetune(...)`, or `tinyalbert finetune classify --model runs/demo --train reviews.csv`, wraps this loop in what
#   real data needs: evaluation during training, keeping the best weights, going on after a crash, a report.
# * Long texts. We cut them. The package looks at entities and questions through overlapping windows.
# * A model that gives the same answer to everything has not learned. The log says so, and `--recipe careful` is the
#   first remedy; above all version 2 of large ALBERTs does that with BERT's settings.
# * AdamW *with* bias correction here, without it in pretraining: with few steps it matters (notebook 08).
# * The head's dropout (`classifier_dropout_prob`, 0.1) is on while you train and off when you ask.

# %%
folder.cleanup()

# %% [markdown]
# **Next:** what ALBERT saves, what it does not, and what that costs.
