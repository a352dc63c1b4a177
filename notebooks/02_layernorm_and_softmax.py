# %% [markdown]
# # 02 · LayerNorm and softmax
#
# > In this paper, we transpose batch normalization into layer normalization by computing the mean and variance used for
# > normalization from all of the summed inputs to the neurons in a layer on a single training case.
# > (Ba, Kiros & Hinton, 2016, abstract)
#
# In a GELU, an output depends on one input. Here every output of a row depends on *every* input of the row: through a
# mean, a deviation, or the sum under a fraction. Move one number, and the whole row answers. The backward pass has a
# term for each of these paths, and people leave them out. The model still trains, a little worse, and nobody ever
# knows.
#
# A layer of ALBERT has two LayerNorms and one softmax; another softmax stands inside the loss. At the end of this
# notebook you have derived LayerNorm, softmax and the loss, and you know what each mistake looks like.
#
# You need: notebook 01, the quotient rule. About 40 minutes.

# %%
import inspect

import numpy as np

from tinyalbert import check_gradients
from tinyalbert import functional as F
from tinyalbert.course import check, picture
from tinyalbert.course.pictures import BLUE, INK, MUTED, ORANGE, heatmap, new_figure

rng = np.random.default_rng(0)
np.set_printoptions(precision=3, suppress=True)

# %% [markdown]
# ## LayerNorm, forwards
#
# Take a token's $H$ numbers. Subtract their mean, divide by their standard deviation, then let the network choose scale
# and shift of each feature again:
#
# $$\mu = \frac1H \sum_i x_i, \qquad v = \frac1H \sum_i (x_i - \mu)^2, \qquad \sigma = \sqrt{v + \varepsilon}, \qquad
#   \hat x_i = \frac{x_i - \mu}{\sigma}, \qquad y_i = \gamma_i\, \hat x_i + \beta_i.$$
#
# $\gamma$ and $\beta$ are learned, one number for each feature, and are the same for every token. They begin as 1 and
# 0. (The paper calls them gain and bias, published models `weight` and `bias`.) With three numbers:

# %%
x = np.array([1.0, 2.0, 6.0])
mean, variance = x.mean(), ((x - x.mean())**2).mean()
x_hat = (x - mean) / np.sqrt(variance)
print(f"mean {mean:.3f}, variance {variance:.3f}, deviation {np.sqrt(variance):.3f}")
print("x_hat", x_hat, f"-> mean {x_hat.mean():.3f}, mean square {(x_hat**2).mean():.3f}")

# %% [markdown]
# Why? Twelve layers add to the same stream of numbers, and its size drifts. A LayerNorm puts every token back on the
# same scale, whatever came before. Batch norm takes the statistics over the batch; a LayerNorm takes them over the
# features of *one token*, so a token's result depends neither on its neighbours nor on who else is in the batch. In the
# picture red is above 0 and blue below:

# %%
T, H = 6, 16
sizes, shifts = np.array([[0.2, 1, 3, 1, 0.5, 2], [0, 2, 0, -3, 1, 0]])
x = rng.standard_normal((T, H)) * sizes[:, None] + shifts[:, None]
y = F.layer_norm(x, np.ones(H), np.zeros(H), 1e-12)[0]

figure = new_figure(7.5, 2)
left, right = figure.subplots(1, 2)
names = [f"token {t}" for t in range(T)]
heatmap(left, x, names, title="before: x [T, H]", diverging=True)
heatmap(right, y, names, title="after: mean 0, deviation 1 in every row", diverging=True)
picture(figure, "Two heat-maps of six tokens with sixteen features. Before, some rows are all "
                "pale, one is all blue, one all red. After, every row has both colours in about "
                "the same strength.")

# %% [markdown]
# Look at what got lost. Add a constant to a row, or multiply the row by a positive number: the output is the same,
# but for what the tiny $\varepsilon$ does.

# %%
row, ones, zeros = x[:1], np.ones(H), np.zeros(H)
same = F.layer_norm(row, ones, zeros, 1e-12)[0]
for text, changed in (("row + 5", row + 5), ("3 * row", 3 * row), ("-row", -row)):
    difference = np.abs(F.layer_norm(changed, ones, zeros, 1e-12)[0] - same).max()
    print(f"{text:8} changes the output by at most {difference:.1e}")

# %% [markdown]
# Keep this in mind for the way back: *in a direction in which the output does not move, the slope is 0.* So the gradient
# of a row must add up to 0 (a constant is added), and must be perpendicular to $\hat x$ (the row, less its mean, is
# stretched). The formula below is nothing but "take the gradient, and remove these two directions".
#
# ### Exercise 1
# Write LayerNorm. `x` is $[..., H]$, any number of axes before the last; the statistics are those of the last.


# %% layer_norm tags=["exercise"]
def layer_norm(x, weight, bias, eps):
    """x [..., H], weight (γ) and bias (β) [H] -> [..., H]"""
    ...


# %%
check("layer_norm", layer_norm)

# %% [markdown]
# ## LayerNorm, backwards
#
# **$\beta$ and $\gamma$** are easy: each is used once in every row, so their gradients are sums over the rows $n$. (For
# $[B, T, H]$ these are all tokens of all sequences: every axis but the last.)
#
# $$d\beta_i = \sum_n dy_{ni}, \qquad d\gamma_i = \sum_n dy_{ni}\, \hat x_{ni}.$$
#
# **To $\hat x$.** From $y_i = \gamma_i \hat x_i + \beta_i$ the slope of the loss in $\hat x_i$ is
# $g_i = \gamma_i\, dy_i$. Give it this name of its own. Everything that follows is about $g$, not about $dy$.
#
# **To $x$.** Fix one row. How does $x_j$ move things? It moves the mean by
#
# $$\frac{\partial \mu}{\partial x_j} = \frac1H.$$
#
# It moves the variance by
#
# $$\frac{\partial v}{\partial x_j} = \frac2H \sum_k (x_k - \mu)\Bigl(\delta_{kj} - \frac1H\Bigr)
#   = \frac2H (x_j - \mu) - \frac{2}{H^2}\underbrace{\sum_k (x_k - \mu)}_{=\,0} = \frac2H (x_j - \mu),$$
#
# where $\delta_{kj}$ is 1 for $k = j$ and 0 otherwise. And so, with $\sigma = \sqrt{v + \varepsilon}$, the deviation by
#
# $$\frac{\partial \sigma}{\partial x_j} = \frac{1}{2\sigma}\,\frac{\partial v}{\partial x_j}
#   = \frac{x_j - \mu}{H \sigma} = \frac{\hat x_j}{H}.$$
#
# Now the quotient $\hat x_i = (x_i - \mu)/\sigma$: its numerator moves, and its denominator moves.
#
# $$\frac{\partial \hat x_i}{\partial x_j}
#   = \frac{1}{\sigma}\Bigl(\delta_{ij} - \frac1H\Bigr) - \frac{x_i - \mu}{\sigma^2}\cdot\frac{\hat x_j}{H}
#   = \frac1\sigma \Bigl( \delta_{ij} - \frac1H - \frac{\hat x_i \hat x_j}{H} \Bigr).$$
#
# Three terms, three paths: $x_j$ itself, through the mean, through the deviation. Let us look at this matrix, and
# measure it, before going on.

# %%
row = np.array([1.0, 2.0, 6.0, -1.0, 0.5])
H = len(row)
deviation = row.std()
x_hat = (row - row.mean()) / deviation
jacobian = (np.eye(H) - 1 / H - np.outer(x_hat, x_hat) / H) / deviation

h = 1e-5
measured = np.empty((H, H))
for j in range(H):
    step = h * np.eye(H)[j]
    above, below = (F.layer_norm(moved, np.ones(H), np.zeros(H), 0.0)[0]
                    for moved in (row + step, row - step))
    measured[:, j] = (above - below) / (2 * h)
print("the matrix of slopes, row i, column j\n", jacobian)
print(f"largest difference to the measured one {np.abs(jacobian - measured).max():.0e}")
print(f"1/deviation: {1 / deviation:.3f}")

# %% [markdown]
# A naive backward pass takes mean and deviation for constants. Its matrix has $1/\sigma$ everywhere on the diagonal, and
# 0 beside it.
#
# **Add up over what is touched.** $x_j$ touches every $\hat x_i$ of its row:
#
# $$dx_j = \sum_i g_i \frac{\partial \hat x_i}{\partial x_j}
#   = \frac1\sigma \Bigl( g_j - \frac1H \sum_i g_i - \hat x_j\, \frac1H \sum_i g_i \hat x_i \Bigr),$$
#
# or, for a whole row,
#
# $$\boxed{\;dx = \frac1\sigma \Bigl( g - \mathrm{mean}(g) - \hat x\; \mathrm{mean}(g\, \hat x) \Bigr),
#   \qquad g = \gamma\, dy.\;}$$
#
# **$\gamma$ is inside both means.** Each feature has a gain of its own, so $\mathrm{mean}(\gamma\, dy)$ is not
# $\gamma\, \mathrm{mean}(dy)$. The package's code:

# %%
print(inspect.getsource(inspect.unwrap(F.layer_norm_backward)))

# %%
x = rng.standard_normal((4, 6))
gain, shift = rng.uniform(0.5, 2, 6), rng.standard_normal(6)
print(check_gradients((F.layer_norm, F.layer_norm_backward), x, gain, shift, 1e-12))

# %% [markdown]
# And the two directions that must be gone:

# %%
y, cache = F.layer_norm(x, gain, shift, 1e-12)
dx, _, _ = F.layer_norm_backward(rng.standard_normal(y.shape), cache)
print(f"row sums of dx: at most {np.abs(dx.sum(-1)).max():.0e}")
print(f"products of dx with x_hat: at most {np.abs((dx * cache.x_hat).sum(-1)).max():.0e}")

# %% [markdown]
# ### The mistake of choice: $\gamma$ outside
# One line, and easily overlooked: apply the normalisation's backward to `dy`, and multiply by $\gamma$ at the end.


# %%
def gain_outside(dy, cache):
    x_hat, inv_std, weight = cache
    g = dy                                              # the gain is missing here
    dx = (g - g.mean(-1, keepdims=True) - x_hat * (g * x_hat).mean(-1, keepdims=True)) * inv_std
    return dx * weight, (dy * x_hat).sum(0), dy.sum(0)  # and too late here


print(check_gradients((F.layer_norm, gain_outside), x, gain, shift, 1e-12))
print()
with_gains_of_1 = check_gradients((F.layer_norm, gain_outside), x, np.ones(6), shift, 1e-12)
print("with every gain 1 it is called right:", with_gains_of_1.ok)

# %% [markdown]
# The last line is the trap, and one of the exceptions that notebook 01 spoke of. Gains *begin* as 1, so a test on a fresh
# model finds nothing, and the error grows as the model learns. When `check_gradients` is given a layer it therefore
# moves the gains first. When you give it a pair of functions, choose them at random yourself.
#
# ### Why nobody notices
# How wrong is it to forget the paths altogether? Compare with the true gradient, for a random `dy`, by the cosine of the
# angle between them. The true one lacks two of $H$ directions, and a random `dy` lies in all of them alike, so about
# $\sqrt{1 - 2/H}$ is to be expected:

# %%
for H in (4, 16, 64, 768):
    rows = rng.standard_normal((2000, H))
    dy = rng.standard_normal(rows.shape)
    _, cache = F.layer_norm(rows, np.ones(H), np.zeros(H), 1e-12)
    right = F.layer_norm_backward(dy, cache)[0]
    wrong = dy * cache.inv_std                          # both paths forgotten
    cosine = (right * wrong).sum() / np.sqrt((right**2).sum() * (wrong**2).sum())
    print(f"H = {H:3}: cosine {cosine:.4f}, expected {np.sqrt(1 - 2 / H):.4f}")

# %% [markdown]
# With 768 features the gradient points almost where it should, and the loss falls. *A falling loss is not a test.*
#
# And a test can be empty, too. With `dy = 1` everywhere and all gains 1, $L$ is the sum of $\hat x$, which is 0
# whatever you do:

# %%
_, cache = F.layer_norm(x, np.ones(6), np.zeros(6), 1e-12)
dx, _, _ = F.layer_norm_backward(np.ones_like(x), cache)
print(f"with dy = 1: largest element of dx {np.abs(dx).max():.0e}")

# %% [markdown]
# ### Exercise 2
# Cover the text, derive it again on paper, and code it. There is no cache: you get what the forward pass got. `eps` is a
# constant: return the gradients of `x`, `weight` and `bias`.

# %% layer_norm_backward tags=["exercise"]
def layer_norm_backward(dy, x, weight, bias, eps):
    """dy [..., H] -> dx [..., H], d_weight [H], d_bias [H]"""
    ...


# %%
check("layer_norm_backward", layer_norm_backward)

# %% [markdown]
# ## Softmax, forwards
#
# A softmax turns any $T$ numbers, the **scores**, into probabilities: positive, with sum 1, in the same order.
#
# $$p_i = \frac{e^{x_i}}{\sum_k e^{x_k}}$$

# %%
scores = np.array([1.0, 2.0, 4.0])
e = np.exp(scores)
print("e^x", e, "-> p", e / e.sum())

# %% [markdown]
# ### Numerical safety
# $e^x$ grows so fast that in float32 it overflows before 89, in float64 before 710.

# %%
with np.errstate(over="ignore", invalid="ignore"):
    for dtype, score in ((np.float32, 88), (np.float32, 89), (np.float64, 709), (np.float64, 710)):
        print(f"{np.dtype(dtype)}: e^{score} = {np.exp(dtype(score)):.2e}")
    large = np.array([1000.0, 999.0])
    print("softmax of [1000, 999] as the formula says:", np.exp(large) / np.exp(large).sum())

# %% [markdown]
# But only the *differences* of the scores matter: a constant $c$ cancels,
#
# $$\frac{e^{x_i - c}}{\sum_k e^{x_k - c}} = \frac{e^{-c}\, e^{x_i}}{e^{-c} \sum_k e^{x_k}} = p_i,$$
#
# so choose $c = \max_k x_k$. Then the largest exponent is 0, nothing can overflow, and the sum is at least 1, so
# nothing is divided by 0. What underflows becomes 0, which it nearly was.

# %%
print("softmax of [1000, 999], made safe:", F.softmax(large))
print("softmax of [1, 0]:                ", F.softmax(np.array([1.0, 0.0])))

# %% [markdown]
# ### Exercise 3
# Write the safe softmax over the last axis of any array. (Mind `keepdims`.)


# %% safe_softmax tags=["exercise"]
def softmax(x):
    """x [..., T] -> probabilities [..., T]"""
    ...


# %%
check("safe_softmax", softmax)

# %% [markdown]
# ## Softmax, backwards
#
# Write $S = \sum_k e^{x_k}$, so that $p_i = e^{x_i}/S$. How does $x_j$ move $p_i$? It is in the sum below, always, and
# $\partial S/\partial x_j = e^{x_j}$. It is in the numerator if $i = j$. By the quotient rule:
#
# $$\frac{\partial p_i}{\partial x_j} = \frac{\delta_{ij}\, e^{x_i}\, S - e^{x_i}\, e^{x_j}}{S^2}
#   = p_i\,(\delta_{ij} - p_j).$$
#
# On the diagonal $p_i(1 - p_i)$, beside it $-p_i p_j$: **what one gains, the others lose.** As a matrix this Jacobian
# is $\mathrm{diag}(p) - p\,p^\top$.

# %%
rows = {"even scores": [0.3, 0.0, 0.5, 0.2, 0.1], "one score far ahead": [0.0, 1.0, 9.0, 2.0, 0.0]}
figure = new_figure(7.5, 3.2)
for axes, (name, scores) in zip(figure.subplots(1, 2), rows.items(), strict=True):
    p = F.softmax(np.array(scores))
    jacobian = np.diag(p) - np.outer(p, p)
    labels = [f"p = {value:.2f}" for value in p]
    title = f"{name}\nlargest slope {jacobian.max():.4f}"
    heatmap(axes, jacobian, labels, title=title, diverging=True).set_clim(-0.25, 0.25)
    for (i, j), value in np.ndenumerate(jacobian):
        axes.text(j, i, f"{value:.2f}".replace("-0.00", "0.00"), ha="center", va="center",
                  fontsize=8, color=INK)
picture(figure, "Two five by five heat-maps of a softmax's Jacobian. For even scores the diagonal "
                "is red, between 0.13 and 0.19, and all else pale blue, about -0.04. For one "
                "score far ahead the whole matrix is white: all slopes are near 0.")

# %% [markdown]
# On the right, a softmax that has made up its mind passes no gradient on. It cannot be talked out of it. This is why
# attention divides its scores by $\sqrt D$ (notebook 05), and it is what "saturated" means.
#
# **Add up over what is touched.** With $dp_i$ from above:
#
# $$dx_j = \sum_i dp_i\, p_i(\delta_{ij} - p_j) = p_j\, dp_j - p_j \sum_i p_i\, dp_i$$
#
# $$\boxed{\;dx = p\,\Bigl(dp - \sum_i p_i\, dp_i\Bigr)\;}$$
#
# The sum is the *expected* $dp$. A score is to rise if its $dp$ is better than the average under $p$, and only the
# surplus counts. The matrix itself is never built: that would be $T \times T$ numbers for every row, where the formula
# needs $T$.

# %%
print(inspect.getsource(F.softmax_backward))


# %%
def softmax_with_cache(x):
    probs = F.softmax(x)
    return probs, probs             # what the way back needs is the output


print(check_gradients((softmax_with_cache, F.softmax_backward), rng.standard_normal((3, 5))))

# %% [markdown]
# Again the output is blind to a direction: a constant added to all scores. So every row of $dx$ adds up to 0. (You will
# meet this again: it is why the bias of attention's keys can never learn anything.)
#
# The usual mistake is to remember that a sigmoid's slope is $p(1-p)$, and to use it here:


# %%
def elementwise(dp, probs):
    return dp * probs * (1 - probs)         # the diagonal, nothing else


print(check_gradients((softmax_with_cache, elementwise), rng.standard_normal((3, 5))))

# %% [markdown]
# Found, but not named: the checker knows some mistakes by sight, and measures all of them.
#
# ### Exercise 4
# Write the backward pass. Yours gets the scores `x`; `F.softmax` or your own gives you the probabilities.


# %% softmax_backward tags=["exercise"]
def softmax_backward(dp, x):
    """dp [..., T], scores x [..., T] -> dx [..., T]"""
    ...


# %%
check("softmax_backward", softmax_backward)

# %% [markdown]
# ## Cross-entropy: how a language model is told that it was wrong
#
# For each of $M$ tokens that it is asked for, the model gives $V$ scores, now called **logits** $z$. The right answer,
# the **label**, is a number $c$ between 0 and $V-1$. The loss is the surprise at the right answer, averaged ($\log$ is the
# natural logarithm):
#
# $$L = -\frac1M \sum_m \log p_{m, c_m}, \qquad p_m = \mathrm{softmax}(z_m).$$
#
# A certain and right model has loss 0. One that gives the answer a probability of $\frac12$ has $\log 2$:

# %%
for p in (1.0, 0.5, 0.01):
    print(f"-log {p} = {abs(np.log(p)):.3f}")

# %% [markdown]
# ### Exercise 5
# A new model knows nothing. It gives each of the $V = 30{,}000$ pieces of the vocabulary the same probability. What
# is its loss? (This number is worth knowing by heart: the first line of every log should show it.)

# %% loss_of_a_guess tags=["exercise"]
loss_of_a_guess = ...

# %%
check("loss_of_a_guess", loss_of_a_guess)

# %% [markdown]
# ### Numerical safety, again
# Do not take the logarithm of a softmax. Where a probability underflows to 0 its logarithm is $-\infty$, although the
# true value is an ordinary number. Take the logarithm on paper first:
#
# $$\log p_c = \log\frac{e^{z_c}}{\sum_k e^{z_k}} = (z_c - \max z) - \log \sum_k e^{z_k - \max z}.$$

# %%
z = np.array([0.0, 900.0])
with np.errstate(divide="ignore"):
    print("log(softmax(z)):", np.log(F.softmax(z)))
shifted = z - z.max()
print("on paper first: ", shifted - np.log(np.exp(shifted).sum()))

# %% [markdown]
# ### Labels that ask for nothing
# Of a sequence's tokens only some are masked and asked for. The others carry the label $-100$ (a convention of
# PyTorch; here `F.IGNORED`), and count neither in the sum nor in the mean. $M$ is the number of labels that ask. If a
# batch asks for nothing at all, the loss is 0, not $0/0$.

# %%
logits = rng.standard_normal((4, 5))
for labels in ([2, 0, 1, 4], [2, F.IGNORED, F.IGNORED, 4], [F.IGNORED] * 4):
    print(f"labels {labels!s:24} loss {abs(F.cross_entropy(logits, np.array(labels))[0]):.4f}")

# %% [markdown]
# ### Exercise 6
# Write it, safely. You may assume that at least one label asks. The $R$ rows are asked ones and others.


# %% cross_entropy tags=["exercise"]
def cross_entropy(logits, labels):
    """logits [R, V], labels [R] of 0..V-1 or -100 -> the mean loss, a number"""
    ...


# %%
check("cross_entropy", cross_entropy)

# %% [markdown]
# ## Cross-entropy, backwards
#
# For one row, $L = -\log p_c = -z_c + \log \sum_k e^{z_k}$. Its slopes can be read off. The first part: $-1$ for the
# label, 0 for all others. The second: $\frac{\partial}{\partial z_j} \log S = \frac{e^{z_j}}{S} = p_j$. Together
#
# $$\boxed{\;\frac{\partial L}{\partial z} = p - \mathrm{onehot}(c)\;}$$
#
# and with the mean, $\frac1M$ of it for an asked row and 0 for all others. **What the model believes, minus what is
# true.** Nothing in it can overflow, and it does not saturate where it matters: it is largest where the model is sure
# and wrong.

# %%
words = ["breathe", "see", "sing", "sleep", "table"]
z = np.array([1.2, 2.0, 0.5, 0.9, -2.0])                     # scores of an imagined model
p = F.softmax(z)
gradient = p - np.eye(5)[0]                                  # "So long as men can breathe"
print("p       ", p)
print("gradient", gradient, f"sum {abs(gradient.sum()):.3f}")

figure = new_figure(6.5, 2.8)
left, right = figure.subplots(1, 2)
left.bar(words, p, color=BLUE)
left.set_title("So long as men can …\np: what the model believes", fontsize=9, color=INK)
right.bar(words, -gradient, color=[ORANGE] + [MUTED] * 4)
right.axhline(0, color=INK, linewidth=0.5)
right.set_title("onehot - p: where the step\ndownhill pushes the logits", fontsize=9, color=INK)
for axes in (left, right):
    axes.tick_params(axis="x", rotation=60)
    axes.spines[["top", "right"]].set_visible(False)
picture(figure, "Left, bars of five words' probabilities, the largest for see. Right, the push on "
                "each logit: up by 0.78 for the right word, breathe; down for each other word by "
                "its probability, so most of all for see.")

# %% [markdown]
# The detour through `softmax_backward` must give the same. There $dp$ is $-1/p_c$ for the label, which is huge for a
# small $p_c$, and 0 for the others; then it is multiplied by $p$, and the huge number cancels. On paper it cancels
# once and for all.

# %%
dp = np.where(np.arange(5) == 0, -1 / p, 0)
print("through softmax_backward", F.softmax_backward(dp, p))

labels = np.array([2, F.IGNORED, 0, 4])
print(check_gradients((F.cross_entropy, F.cross_entropy_backward), logits, labels=labels))

# %% [markdown]
# ### The mean over what was asked
# A mean must be taken once, over everything that one step looks at. If a batch is processed in parts, because memory is
# short, the mean of the parts' means is *another number*: it gives a token more weight if it stands in a part that asks
# little.

# %%
logits, labels = rng.standard_normal((8, 5)), np.array([1, 3, 0, 2, 4, F.IGNORED, F.IGNORED, 1])
whole = F.cross_entropy(logits, labels)[0]
parts = [(F.cross_entropy(logits[rows], labels[rows])[0], (labels[rows] != F.IGNORED).sum())
         for rows in (slice(0, 4), slice(4, 8))]
print(f"all at once                 {whole:.6f}")
print(f"mean of the parts' means    {np.mean([loss for loss, _ in parts]):.6f}")
weighted = sum(loss * asked for loss, asked in parts) / sum(asked for _, asked in parts)
print(f"weighted by what they asked {weighted:.6f}")

# %% [markdown]
# ### Exercise 7
# Write the backward pass. `dy` is the slope in the loss itself, a number: 1, unless something is still done with the
# loss. It is a factor of everything.


# %% cross_entropy_backward tags=["exercise"]
def cross_entropy_backward(dy, logits, labels):
    """dy a number, logits [R, V], labels [R] -> d_logits [R, V]"""
    ...


# %%
check("cross_entropy_backward", cross_entropy_backward)

# %% [markdown]
# ## What the package does differently, and why
#
# * **The cache is not the input.** `layer_norm` keeps $\hat x$ and $1/\sigma$, because the way back is written in
#   them; `softmax_backward` needs only the probabilities; `cross_entropy` keeps $p$ and each row's share of the mean,
#   $1/M$ or 0. What to keep is a choice between memory and work.
# * **$\varepsilon = 10^{-12}$**, as in the published models. Beside a variance of 1 it is nothing. It is there for
#   the one row whose variance is 0:

# %%
constant = np.full((1, 4), 7.0)
print("a constant row:", F.layer_norm(constant, np.ones(4), np.zeros(4), 1e-12)[0])
print("1 + 1e-12 == 1 in float32:", np.float32(1) + np.float32(1e-12) == 1)

# %% [markdown]
# * **Only asked tokens reach the vocabulary.** The logits of all tokens of a batch would be the largest array of the
#   whole model, and most of it would be for labels of $-100$. The masked-LM head takes the asked rows out first
#   (notebook 04).
# * **`softmax` has no layer and no faster version of its own.** It lives inside attention, where the fast version scales,
#   masks, subtracts, exponentiates and divides a row while it is in the cache of the processor.
# * `cross_entropy` can weigh classes, for fine-tuning on labels of which some are rare: $-\sum w \log p\, / \sum w$. The
#   weights $w / \sum w$ add up to 1, as $1/M$ does.
#
# **Next:** where the numbers come from. Notebook 03 cuts text into pieces; notebook 04 gives each piece a vector; then
# you have all that attention is made of.
