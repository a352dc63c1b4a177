# %% [markdown]
# # 00 · Arrays and backends
#
# > However, at some point further model increases become harder due to GPU/TPU memory limitations and longer training
# > times. (Lan et al., abstract)
#
# ALBERT was made because arrays did not fit into a device. And an ALBERT *is* arrays: a few tables of numbers, and a
# few dozen operations on them. Whoever is at home with shapes reads the rest of this course like prose. Whoever is not
# meets three mistakes again and again that raise no error: an axis that is not the one you meant, an array that
# shares its memory with another, and a number with fewer digits than you thought.
#
# You will see each of the three go wrong here, on arrays small enough to print. At the end the same lines run on
# NumPy and on a GPU.
#
# You need: NumPy, and what a matrix product is. About 30 minutes.

# %%
import inspect
import math
import time

import numpy as np

from tinyalbert import InputError
from tinyalbert import functional as F
from tinyalbert.backend import array_module, get_backend
from tinyalbert.course import check, picture
from tinyalbert.course.device import DeviceArray, DeviceBackend
from tinyalbert.course.pictures import BLUE, INK, ORANGE, new_figure

rng = np.random.default_rng(0)
np.set_printoptions(precision=3, suppress=True)

# %% [markdown]
# ## From two sentences to $[B, T, H]$
#
# > We follow the BERT notation conventions and denote the vocabulary embedding size as E, the number of encoder
# > layers as L, and the hidden size as H. (Lan et al., section 3.1)
#
# This course adds a few letters: $B$ sequences in a batch, $T$ tokens in each, $N$ attention heads of $D = H/N$ features,
# $V$ pieces in the vocabulary, and $R$ for rows, wherever it does not matter which token of which sequence a row is.
# (Where slopes are spoken of, $L$ is the loss, as in every book.)
#
# A model does not see words. It sees their numbers, and looks each up in a table.

# %%
sentences = ["so long as men can breathe or eyes can see",
             "so long lives this and this gives life to thee"]
words = sorted({word for sentence in sentences for word in sentence.split()})
ids = np.array([[words.index(word) for word in sentence.split()] for sentence in sentences])

V, H = len(words), 6
table = rng.standard_normal((V, H))
x = table[ids]                                  # a row for each id
print("ids  ", ids.shape, " [B, T]\n", ids)
print("table", table.shape, "[V, H]")
print("x    ", x.shape, "[B, T, H]")

# %% [markdown]
# Read $[B, T, H]$ from the right: $H$ numbers describe a token, $T$ tokens are a sequence, $B$ sequences are a batch.
# Nearly every operation of a Transformer works on the last axis and treats all others alike. There is one exception,
# attention, the only place where tokens meet.

# %%
B, T, H = x.shape
W = rng.standard_normal((H, 4))
print("x @ W      ", (x @ W).shape, " every token by itself: [B, T, H] @ [H, 4]")
print("x.mean(-1) ", x.mean(-1).shape, "    a number for each token")
print("x[:, 0]    ", x[:, 0].shape, "     the first token of each sequence")
print("x.reshape  ", x.reshape(-1, H).shape, "    all tokens of all sequences as rows: [B*T, H]")

# %% [markdown]
# ## Views and copies
#
# An array is two things: a row of numbers in memory, and a way to walk through it. The **strides** say how many
# bytes to step for the next element along each axis. Many operations only change the way of walking. Their result is a
# **view**: no number is moved, and both arrays are the same memory.

# %%
a = np.arange(6.0).reshape(2, 3)
for name, b in (("a", a), ("a.T", a.T), ("a.reshape(3, 2)", a.reshape(3, 2)), ("a[:, 1]", a[:, 1]),
                ("a[[0, 1]]", a[[0, 1]]), ("a * 1", a * 1)):
    kind = "same memory" if np.shares_memory(a, b) else "a copy"
    print(f"{name:16} shape {b.shape!s:7} strides {b.strides!s:8} {kind}")

# %% [markdown]
# Slices, transposes and most reshapes are views. Indexing with a *list or array* of numbers copies, and so does
# arithmetic.
#
# Two consequences matter on the way back. A network learns from the slope of its loss $L$ in each of its numbers. A
# **backward pass** computes these slopes, from the last operation to the first. Each operation $y = f(x)$ is handed
# `dy`, the slope of $L$ in every number of $y$, and returns `dx`, the slope in every number of $x$. (Notebook 01 is
# about how.)
#
# **Writing into a view writes into the original.** In a Transformer one `dy` often has to go two ways, for instance
# when $y = x + f(x)$. An operation that scales it in place has changed what the other way still needs:

# %%
dy = np.ones((2, 3))
other_way = dy                  # no copy: another name
dy *= 0.5                       # in place
print("scaled in place, the other way carries", other_way[0])

dy = np.ones((2, 3))
other_way = dy
dy = dy * 0.5                   # a new array
print("scaled into a new array, it carries   ", other_way[0])

# %% [markdown]
# Hence a law of the package: *backward never writes to `dy`, nor to what the forward pass has kept for it.* (The
# package's gradient checker tests the law. You meet it in the next notebook.)
#
# **`table[ids] += rows` is not what it seems.** `table[ids]` is a copy. To it the rows are added, and the sums are
# written back, so that for an id that occurs twice one sum overwrites the other. The word "this" occurs twice in our
# second sentence. The package has a method that adds every time, `scatter_add`, on its **backend**, the object that
# stands for an array library:

# %%
counts = np.zeros(V)
counts[ids] += 1
print('"this" by  counts[ids] += 1      ', counts[words.index("this")])

counts = np.zeros((V, 1))
get_backend("numpy").scatter_add(counts, ids.reshape(-1), np.ones((ids.size, 1)))
print('"this" by  backend.scatter_add   ', counts[words.index("this"), 0])

# %% [markdown]
# The gradient of a lookup is exactly such a sum (notebook 04).
#
# ## Broadcasting
#
# Two arrays of different shapes can be added. NumPy writes one shape below the other, **aligned on the right**. An
# axis that is 1 or missing is repeated; any other pair of unequal numbers is an error.
#
# ```
# x           [B, T, H]        scores      [B, N, T, T]
# bias              [H]        mask        [B, 1, 1, T]
# x + bias    [B, T, H]        sum         [B, N, T, T]
# ```
#
# Nothing is copied: an axis is repeated by a stride of 0.

# %%
bias = np.array([0.0, 0.0, -10000.0])
repeated = np.broadcast_to(bias, (2, 3))
print(repeated, "strides", repeated.strides)

# %% [markdown]
# Broadcasting is also how an array operation goes wrong in silence. To subtract from each row its mean you need
# `keepdims=True`, which leaves $[3, 1]$ to be repeated along the row. Without it the shape is $[3]$, which lines up
# with the *columns*. With unequal sizes that is an error, and you are lucky. With equal sizes it is only wrong:

# %%
square = np.array([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0], [0.0, 0.0, 9.0]])
right = square - square.mean(-1, keepdims=True)
wrong = square - square.mean(-1)
print("row means with keepdims   ", right.mean(-1))
print("row means without keepdims", wrong.mean(-1))

try:
    square[:2] - square[:2].mean(-1)
except ValueError as error:
    print("with sizes 2 and 3:", error)

# %% [markdown]
# Two habits follow. In tests, **let no two sizes be equal**: $B$, $T$, $N$ and $D$ all different. And remember what
# broadcasting is to the way back: whatever was repeated forwards has had several uses, and **the slope in it is the sum
# over them**. The sum over rows for a bias, in the next notebook, is this rule.
#
# ### Exercise 1
# Sequences of a batch differ in length, and the shorter ones are padded. `mask` $[B, T]$ holds 1 for a token and 0 for
# padding. Attention's scores are $[B, N, T, T]$: for each sequence and head a matrix, whose **row** is the token that
# asks and whose **column** is the token that is looked at. Make the array that has to be *added* to them: 0 in the
# columns of tokens, -10000 in those of padding. Give it four axes, and the size 1 along each that is only repeated.


# %% attention_bias tags=["exercise"]
def attention_bias(mask):
    """mask [B, T] of 0 and 1 -> 0.0 or -10000.0, with four axes"""
    ...


# %%
check("attention_bias", attention_bias)

# %% [markdown]
# ## What einsum's letters mean
#
# Any sum of products over axes can be written as a sentence about letters. `einsum("ni,io->no", x, W)`:
#
# * every axis gets a letter; the same letter is the same index, so its sizes must agree;
# * the letters after the arrow are the axes of the result;
# * **a letter that is missing after the arrow is summed over.**
#
# $$y_{no} = \sum_i x_{ni} W_{io} \qquad\Longleftrightarrow\qquad \texttt{"ni,io->no"}$$

# %%
M = np.array([[1.0, 2.0], [3.0, 4.0]])
print('"ij->ji"   transpose    ', np.einsum("ij->ji", M).tolist())
print('"ij->"     sum          ', np.einsum("ij->", M))
print('"ij->i"    sums of rows ', np.einsum("ij->i", M))
print('"ii->"     trace        ', np.einsum("ii->", M))
print('"ij,ij->"  product sum  ', np.einsum("ij,ij->", M, M))

# %% [markdown]
# Letters make a backward pass nearly mechanical. If $y = $ `einsum("bti,io->bto", x, W)`, then for the slope in one
# factor exchange its letters with those of the result, and put `dy` where it was. (This needs each letter of the factor
# to occur in the result or in the other factor. A plain sum, `"ij->i"`, has a $j$ that does not: there the slope is
# repeated along $j$.)
#
# $$dx = \texttt{einsum("bto,io->bti", dy, W)}, \qquad dW = \texttt{einsum("bti,bto->io", x, dy)}.$$
#
# Read the last one aloud: $b$ and $t$ are missing on the right, so *every token of every sequence adds to $dW$*. Let us
# try it: with $L = \sum dy \cdot y$ the slope of $L$ in one element of $W$, by rule and by moving that element:

# %%
dy = rng.standard_normal((B, T, 4))
dW = np.einsum("bti,bto->io", x, dy)
step = np.zeros_like(W)
step[2, 3] = 1e-5
measured = (dy * (x @ (W + step) - x @ (W - step))).sum() / 2e-5
print(f"by einsum {dW[2, 3]:.8f}, measured {measured:.8f}")

# %% [markdown]
# ### Exercise 2
# `query` and `key` are $[B, T, N, D]$: for every token and head, $D$ numbers. The score of token $t$ (who asks) with
# token $s$ (who is looked at) in head $n$ is their dot product:
# $\text{scores}_{bnts} = \sum_d \text{query}_{btnd}\,\text{key}_{bsnd}$. One einsum.

# %% scores_by_einsum tags=["exercise"]
def scores_by_einsum(query, key):
    """query, key [B, T, N, D] -> [B, N, T, T]"""
    ...


# %%
check("scores_by_einsum", scores_by_einsum)

# %% [markdown]
# ## Heads: one axis into two
#
# In exercise 2 the heads had an axis of their own. A layer has to make it: the $H$ features of a token are cut into $N$
# **heads** of $D$ neighbours each, and then the heads change places with the tokens, so that for every head there is a
# matrix $[T, D]$ that `@` can multiply:
#
# $$[B, T, H] \;\xrightarrow{\text{reshape}}\; [B, T, N, D] \;\xrightarrow{\text{swapaxes}}\; [B, N, T, D].$$
#
# Why not `reshape` straight to $[B, N, T, D]$? The shape would be right, and so would be every later shape. Look at
# where the numbers go. The picture has one sequence of three tokens, with two heads of two features; the numbers count
# through memory.

# %%
from matplotlib.patches import Rectangle

tokens = np.arange(12).reshape(1, 3, 4)                         # [B=1, T=3, H=4]
split = tokens.reshape(1, 3, 2, 2).swapaxes(1, 2)               # [1, N=2, T=3, D=2]
mixed = tokens.reshape(1, 2, 3, 2)                              # the same shape
head_of = np.arange(12).reshape(3, 4) % 4 // 2


def draw(axes, values, title):
    """A matrix of memory places, each in the colour of the head that it belongs to."""
    for (row, column), value in np.ndenumerate(values):
        colour = (BLUE, ORANGE)[head_of.flat[value]]
        axes.add_patch(Rectangle((column, row), 1, 1, facecolor=colour, edgecolor="white",
                                 linewidth=2))
        axes.text(column + 0.5, row + 0.5, str(value), ha="center", va="center", color="white")
    axes.set(xlim=(0, values.shape[1]), ylim=(values.shape[0], 0), aspect="equal")
    axes.set_xticks([])
    axes.set_yticks(np.arange(len(values)) + 0.5, [f"token {t}" for t in range(len(values))]
                    if values.shape[1] == 4 else [""] * len(values))
    axes.tick_params(length=0, labelsize=8)
    axes.spines[:].set_visible(False)
    axes.set_title(title, fontsize=9, color=INK)


figure = new_figure(8, 2.6)
whole, first, second, bad_first, bad_second = figure.subplots(1, 5, width_ratios=[5.2, 2, 2, 2, 2])
draw(whole, tokens[0], "x, one sequence\n[T, H]")
draw(first, split[0, 0], "reshape, swap:\nhead 0 [T, D]")
draw(second, split[0, 1], "\nhead 1 [T, D]")
draw(bad_first, mixed[0, 0], "reshape only:\n\"head 0\"")
draw(bad_second, mixed[0, 1], "\n\"head 1\"")
picture(figure, "A matrix of three tokens with four features: the first two of each in blue (head "
                "0), the last two in orange (head 1). After reshape and swapaxes each head holds "
                "one colour and all three tokens. After reshape alone, each of the two holds both "
                "colours, and only one and a half tokens.")

# %% [markdown]
# Reshape alone gives "head 0" the whole first token and half of the second. Such a model trains, its loss falls, and it
# is not attention. No shape check finds this.
#
# Swapping is a view. Reshaping a *swapped* array cannot be one: no stride walks such a path, so the numbers are copied.

# %%
heads = x.reshape(B, T, 2, 3).swapaxes(1, 2)                    # [B, N, T, D]
print("split:", heads.shape, "view" if np.shares_memory(heads, x) else "copy")
merged = heads.swapaxes(1, 2).reshape(B, T, H)                  # [B, T, H], undone
print("swap back and reshape:", merged.shape, "equal to x:", np.array_equal(merged, x))
flat = heads.reshape(B, -1)
print("reshape of the swapped array:", "view" if np.shares_memory(flat, x) else "copy")

# %% [markdown]
# ### Exercise 3
# Write the split for any number of heads.


# %% split_heads tags=["exercise"]
def split_heads(x, heads):
    """x [B, T, H] -> [B, N, T, D] with N = heads"""
    ...


# %%
check("split_heads", split_heads)

# %% [markdown]
# ### Exercise 4
# And the way back.


# %% merge_heads tags=["exercise"]
def merge_heads(x):
    """x [B, N, T, D] -> [B, T, H]"""
    ...


# %%
check("merge_heads", merge_heads)

# %% [markdown]
# ## How many digits: float32 against float64
#
# A float64 has about sixteen digits and takes 8 bytes; a float32 has seven and takes 4. Models are trained in float32:
# the weights are noise that was pushed around by noisy gradients, so seven digits are plenty, and everything takes half
# the memory. Gradients are *checked* in float64. You see here why. (`eps` is the gap between 1 and the next number.)

# %%
for dtype in (np.float32, np.float64):
    info = np.finfo(dtype)
    print(f"{info.dtype}: eps {info.eps:.1e}, largest {info.max:.1e}, bytes {info.dtype.itemsize}")
big = np.float32(2**24)
print("in float32, 16777216 + 1 =", int(big + np.float32(1)))

# %% [markdown]
# A slope is measured as $\frac{f(x+h) - f(x-h)}{2h}$. Two errors pull in opposite directions. By Taylor's series the
# measured number is $f'(x) + \frac{h^2}{6} f'''(x) + \dots$, an error that grows as $h^2$: take a small $h$. And $f$ is
# rounded to its last digit, about `eps`, which the division blows up to `eps`$/h$: take a large $h$.

# %%
steps = np.logspace(-12, 0, 49)
errors = {}
for dtype in (np.float32, np.float64):
    at = np.linspace(0.5, 1.5, 101).astype(dtype)               # the average over many places
    slopes = [(np.sin(at + dtype(h)) - np.sin(at - dtype(h))).astype(np.float64) / (2 * h)
              for h in steps]
    error = np.abs(np.array(slopes) - np.cos(at.astype(np.float64))).mean(1)
    print(f"{np.dtype(dtype)}: best h {steps[error.argmin()]:.0e}, error {error.min():.0e}")
    errors[dtype] = error

figure = new_figure(6, 3.2)
axes = figure.subplots()
axes.loglog(steps, errors[np.float32], color=ORANGE, label="float32")
axes.loglog(steps, errors[np.float64], color=BLUE, label="float64")
axes.set_xlabel("h")
axes.set_ylabel("error of the measured slope")
axes.legend(frameon=False)
axes.spines[["top", "right"]].set_visible(False)
picture(figure, "Two curves shaped like a V over the step h. In float64 the error falls below "
                "1e-11 near h = 1e-5. In float32 it stays above 1e-6, at its best near h = 5e-3, "
                "and below h = 1e-8 it is as large as the slope.")

# %% [markdown]
# On the right both fall together, two decades for each decade of $h$: that is $h^2$. In float32 the best that can be had
# is a handful of digits, at the one right $h$; a small mistake in a gradient would pass. In float64 the bottom of the V
# is far below any mistake worth the name. So the gradient checker turns everything into float64, and begins with
# $h = 10^{-5}$.
#
# ### The float64 that sneaks in
# Python's own numbers never change the dtype of an array. NumPy's scalars do, and `np.sqrt` returns one:

# %%
scores = np.ones((2, 2), np.float32)
print("scores / math.sqrt(64) ", (scores / math.sqrt(64)).dtype)
print("scores / np.sqrt(64)   ", (scores / np.sqrt(64)).dtype)

# %% [markdown]
# One such line near the bottom of a model, and all that follows is float64: twice the memory, and no error.
#
# ### Exercise 5
# A batch of $B = 32$ sequences of $T = 512$ tokens goes through one layer of ALBERT base, which has $N = 12$ heads.
# How many **bytes** do the scores $[B, N, T, T]$ take in float32?

# %% bytes_of_scores tags=["exercise"]
bytes_of_scores = ...

# %%
check("bytes_of_scores", bytes_of_scores)

# %% [markdown]
# That is one array of one layer, and the way back needs one of this size from each of the twelve layers. You see what
# the abstract means by memory limitations; and you see that sharing *parameters*, ALBERT's idea, does not shrink this
# part (notebook 12 measures it).
#
# ## The same code on another library
#
# CuPy has NumPy's functions under NumPy's names, on a GPU. So code that does not *say* `np` can run on both. The
# package's whole trick is a line at the beginning of a function: **ask the array where it lives.**

# %%
print(inspect.getsource(array_module))
print(inspect.getsource(F.softmax))

# %% [markdown]
# `backend.py` is the only file that imports CuPy, and it does so when somebody asks for it by name. If your machine has
# none you get a sentence, not a traceback:

# %%
try:
    gpu = get_backend("cupy")
    print("CuPy is here:", F.softmax(gpu.asarray([1.0, 2.0, 3.0])))
except InputError as error:
    print(error)

# %% [markdown]
# ### A strict double
# How do you write code for a GPU on a laptop without one? With a double: an array that *refuses what a GPU's array would
# refuse or wait for*. A device array is different in one respect: its numbers are somewhere else. Whatever needs them
# here either fails or, worse, works and stops the device, in every step.
#
# The course has such a double. It computes with NumPy and can only be used like a device's array (`refuse` makes a
# method that raises an error):

# %%
print(inspect.getsource(DeviceArray).split("    def __neg__")[0])

# %%
device = get_backend(DeviceBackend())
z = device.asarray([[1.0, 2.0, 4.0], [0.0, 0.0, 9.0]], dtype=np.float32)


def attempt(text, action):
    try:
        print(f"{text:28} works: {action()!r}")
    except TypeError as error:
        print(f"{text:28} {str(error)[:88]}")


attempt("z * 2 + 1", lambda: z * 2 + 1)
attempt("z.max(-1, keepdims=True)", lambda: z.max(-1, keepdims=True))
attempt("array_module(z).exp(z)", lambda: array_module(z).exp(z))
attempt("np.exp(z)", lambda: np.exp(z))
attempt("z + np.ones(3)", lambda: z + np.ones(3))
attempt("z / np.sqrt(3)", lambda: z / np.sqrt(3))
attempt("if z.sum() > 0: ...", lambda: bool(z.sum() > 0))
attempt("float(z.sum())", lambda: float(z.sum()))
attempt("for row in z: ...", lambda: list(z))

# %% [markdown]
# Each refusal is a lesson.
#
# * `np.exp(z)`: a function of *one* library. Take the module of the array. (CuPy would let some such calls pass. The
#   double does not, so that there is one way to do each thing.)
# * `z + np.ones(3)`: the other operand is here, `z` is there. Data goes to the device **once**, by `backend.asarray`.
# * `z / np.sqrt(3)`: the scalar that sneaks a float64 in, caught. Write `math.sqrt`.
# * `if`, `float()`, a loop: each must *know* a number. A GPU is given work long before it does it; a single `if` on a
#   loss makes it finish everything first. On a GPU this is not an error, only slow, and no test for correctness would
#   find it. Hence a double that is stricter than the real thing.
#
# Now the package's softmax and LayerNorm, which you will derive in notebook 02, on both:

# %%
host = rng.standard_normal((2, 5))
gain, shift = rng.standard_normal(5), rng.standard_normal(5)
there = [device.asarray(array) for array in (host, gain, shift)]

ours, theirs = F.softmax(host), device.to_numpy(F.softmax(there[0]))
print(f"softmax:    largest difference {np.abs(ours - theirs).max():.1e}")
ours, theirs = F.layer_norm(host, gain, shift, 1e-12)[0], F.layer_norm(*there, 1e-12)[0]
print(f"layer_norm: largest difference {np.abs(ours - device.to_numpy(theirs)).max():.1e}")

# %% [markdown]
# ### Exercise 6
# Write a function that divides each row of `x` (its last axis) by its length, $\sqrt{\sum_h x_h^2}$. It is to run on
# every library, and to return the dtype that it was given. (This double has `sqrt` and `sum`, but no `linalg`.)

# %% unit_rows tags=["exercise"]
def unit_rows(x):
    """x [..., H] -> the same shape, every row of length 1"""
    ...


# %%
check("unit_rows", unit_rows)

# %% [markdown]
# ## What the package does differently, and why
#
# * It writes products as `@`, not as einsum. `@` goes straight to the tuned matrix product of the machine; einsum with
#   its default settings walks through the letters in a loop of its own:

# %%
query, key = (rng.standard_normal((4, 4, 128, 32)).astype(np.float32) for _ in range(2))


def milliseconds(action, times=5):
    best = math.inf
    for _ in range(times):
        start = time.perf_counter()
        action()
        best = min(best, time.perf_counter() - start)
    return 1000 * best


with_einsum = milliseconds(lambda: np.einsum("bntd,bnsd->bnts", query, key))
with_at = milliseconds(lambda: query @ key.swapaxes(-1, -2))
print(f"einsum {with_einsum:.2f} ms, @ {with_at:.2f} ms")

# %% [markdown]
# * The double of its tests (`tests/strict_array.py`) also refuses lists and NumPy arrays as indices, and checks that a
#   whole model, its gradients and its training steps come out equal on NumPy, on the double and, where there is one,
#   on a GPU.
# * Where two libraries truly differ, there is a *method* of `Backend` and not an `if`: the sum over repeated ids
#   (`scatter_add`), random numbers (`uniform`, whose generator lives on the host, so that a run can be saved and
#   resumed), `erf`.
# * `functional.py` holds one text for all libraries. `fast/` has faster versions of some functions for NumPy and for
#   CuPy. They may differ from the text by rounding, and are tested against it.
#
# **Next:** the first operation with a backward pass, and the protocol that all others follow.
