# %% [markdown]
# # 01 · A layer, backwards
#
# > The backbone of the ALBERT architecture is similar to BERT in that it uses a transformer encoder with GELU
# > nonlinearities. (Lan et al., section 3.1)
#
# A network learns by walking downhill: it needs the slope of its loss in every one of its numbers. ALBERT base has
# about 12 million of them, counted below. To move each a little and see what happens would take as many forward passes
# for a single step. **Backpropagation** gets all slopes for about the price of two.
#
# This notebook takes the two most common pieces of a Transformer, the linear map and the GELU, and turns them
# round by hand. At the end you have the protocol that everything else in the course follows:
#
# ```
# y, cache = operation(x, ...)            forward: remember what the way back will need
# dx       = operation_backward(dy, cache)     backward: from the slope of y to the slope of x
# ```
#
# You need: NumPy, the derivative of a product, and the chain rule. About 30 minutes.

# %%
import inspect

import numpy as np

from tinyalbert import check_gradients
from tinyalbert import functional as F
from tinyalbert.course import check, picture
from tinyalbert.course.pictures import BLUE, MUTED, ORANGE, new_figure
from tinyalbert.params import parameter_table
from tinyalbert.published import PUBLISHED

rng = np.random.default_rng(0)
np.set_printoptions(precision=3, suppress=True)
base = parameter_table(PUBLISHED["albert-base-v2"])
print(f"ALBERT base: {sum(base.values()):,} parameters")

# %% [markdown]
# ## The idea, with three numbers
#
# Let $L$ be a number that depends on $y$, and $y$ one that depends on $x$. The chain rule says
#
# $$\frac{dL}{dx} = \frac{dL}{dy}\,\frac{dy}{dx}.$$
#
# In code we write `dy` for $\frac{dL}{dy}$: *the slope of the loss in y*. It has the shape of `y`, always. What
# $L$ is does not matter to the layer: `dy` is all that it hears from above.

# %%
x = 1.5
y = x**2
L = np.sin(y)                   # whatever comes later

dy = np.cos(y)                  # from above
dx = dy * 2 * x                 # our own part: the slope of x² is 2x

h = 1e-6                        # and now by trying it
measured = (np.sin((x + h)**2) - np.sin((x - h)**2)) / (2 * h)
print(f"by the chain rule {dx:.8f}, measured {measured:.8f}")

# %% [markdown]
# That comparison, slope by rule against slope by measurement, is the **gradient check**. It is the most useful test in
# this whole course: it needs no reference implementation, and a wrong gradient hardly ever passes it. (You will see the
# exceptions, and how to avoid them.)
#
# ## The linear map, forwards
#
# A batch of sequences is an array $[B, T, I]$: $B$ sequences, $T$ tokens each, $I$ numbers for each token. The
# linear map treats every token alike and by itself, and makes $O$ numbers of its $I$:
#
# $$y_{n} = x_{n} W + b, \qquad W\ [I, O],\quad b\ [O]$$
#
# with $n$ counting through all $R = B \cdot T$ tokens, the **rows**. (PyTorch keeps $W$ the other way round, $[O, I]$.
# On a blackboard, and here, it is $[I, O]$.)

# %%
R, I, O = 4, 3, 5
x = rng.standard_normal((R, I))
W = rng.standard_normal((I, O))
b = rng.standard_normal(O)
y = x @ W + b
print("x", x.shape, "W", W.shape, "b", b.shape, "->", "y", y.shape)

# %% [markdown]
# ## The linear map, backwards
#
# Write one element of $y$ as the sum that it is:
#
# $$y_{no} = \sum_i x_{ni} W_{io} + b_o.$$
#
# **Which $y$ does $x_{ni}$ touch?** All of row $n$: $\frac{\partial y_{no}}{\partial x_{ni}} = W_{io}$. The chain rule
# adds up over everything that is touched:
#
# $$\frac{\partial L}{\partial x_{ni}} = \sum_o \frac{\partial L}{\partial y_{no}} W_{io}
#   \qquad\Longrightarrow\qquad dx = dy\, W^\top.$$
#
# **Which $y$ does $W_{io}$ touch?** Column $o$ of *every* row: $\frac{\partial y_{no}}{\partial W_{io}} = x_{ni}$, so
#
# $$\frac{\partial L}{\partial W_{io}} = \sum_n x_{ni} \frac{\partial L}{\partial y_{no}}
#   \qquad\Longrightarrow\qquad dW = x^\top dy.$$
#
# **Which $y$ does $b_o$ touch?** Column $o$ of every row, with slope 1: $\;db = \sum_n dy_n$.
#
# There is a way never to get these wrong: **the shapes leave no choice.** $dx$ must have the shape of $x$, $[R, I]$;
# from $dy\ [R, O]$ and $W\ [I, O]$ the only product that gives it is $dy\,W^\top$.
#
# And you see where the price comes from: forwards there is one product of $R \cdot I \cdot O$ multiplications,
# backwards there are two.

# %%
dy = rng.standard_normal(y.shape)       # what might come from above
dx, dW, db = dy @ W.T, x.T @ dy, dy.sum(0)
for name, gradient, tensor in (("dx", dx, x), ("dW", dW, W), ("db", db, b)):
    print(name, gradient.shape, "like", tensor.shape)

# %% [markdown]
# ### Check it
#
# Choose a random `dy`, let $L = \sum dy \cdot y$, and measure the slope of $L$ in every element of $W$:


# %%
def measured_slopes(loss, tensor, h=1e-5):
    """(L(x + h) - L(x - h)) / 2h for every element of `tensor`, which is moved and put back."""
    slopes = np.zeros_like(tensor)
    for place in np.ndindex(tensor.shape):
        kept = tensor[place]
        tensor[place] = kept + h
        above = loss()
        tensor[place] = kept - h
        below = loss()
        tensor[place] = kept
        slopes[place] = (above - below) / (2 * h)
    return slopes


def loss():
    return (dy * (x @ W + b)).sum()


for name, gradient, tensor in (("dx", dx, x), ("dW", dW, W), ("db", db, b)):
    error = np.abs(gradient - measured_slopes(loss, tensor)).max()
    print(f"{name}: largest difference {error:.1e}")

# %% [markdown]
# They agree to nine digits after the point. **Why is `dy` random?** With `dy = 1` everywhere, $L$ is a plain sum, and
# what leaves the sum as it is, such as two outputs exchanged, goes unseen.
#
# The package's checker does the same with more care: in float64, with other steps where the first disagrees. It also
# tests the laws of the protocol, such as that `backward` writes neither to `dy` nor to its cache. And when something is
# wrong, it tries to say *what*. Its `error` is the length of the difference, divided by the length of the gradient:


# %%
def linear(x, W, b):
    return x @ W + b, (x, W)                # y, and what the way back will need


def broken_backward(dy, cache):
    x, W = cache
    return dy @ W.T, x.T @ dy, dy.mean(0)   # find the mistake before you run the cell


print(check_gradients((linear, broken_backward), x, W, b))

# %% [markdown]
# A mean over 4 rows where their sum belongs. A layer never divides by the batch: if the loss is a mean, its own
# backward pass has already divided, once.
#
# ### Exercise 1
# Write the backward pass of the linear map from memory. `check` tries it on other shapes than ours and compares
# with measured slopes.


# %% linear_backward tags=["exercise"]
def linear_backward(dy, x, W, b):
    """dy [R, O] -> dx [R, I], dW [I, O], db [O]"""
    ...


# %%
check("linear_backward", linear_backward)

# %% [markdown]
# ### Exercise 2
# Now with the shapes of a Transformer: `x` is $[B, T, I]$ and `dy` $[B, T, O]$. The matrix product `@` treats leading
# axes as a stack, one product for each sequence. That is right for $dx$ and wrong for $dW$: there is *one* $W$, and
# every token of every sequence adds to its gradient.


# %% linear_backward_3d tags=["exercise"]
def linear_backward_3d(dy, x, W, b):
    """dy [B, T, O] -> dx [B, T, I], dW [I, O], db [O]"""
    ...


# %%
check("linear_backward_3d", linear_backward_3d)

# %% [markdown]
# ### Exercise 3
# The feed-forward network of ALBERT base widens the 768 numbers of a token to 3,072 with one linear map. How many
# parameters, weights and biases, has this map?

# %% parameters_of_a_linear tags=["exercise"]
parameters = ...

# %%
check("parameters_of_a_linear", parameters)

# %% [markdown]
# ## GELU, forwards
#
# Between its two linear maps the feed-forward network has a bend. Without one, two linear maps are one linear map.
# ALBERT (section 3.1) takes the GELU (Hendrycks & Gimpel, 2016):
#
# $$\mathrm{gelu}(x) = x\,\Phi(x), \qquad \Phi(x) = P(Z \le x)\ \text{ for a standard normal } Z
#   = \tfrac12\Bigl(1 + \mathrm{erf}\tfrac{x}{\sqrt 2}\Bigr).$$
#
# A number passes to the degree to which it is large among normally distributed ones.

# %%
grid = np.linspace(-4, 4, 201)
y, cache = F.gelu(grid)
slope = F.gelu_backward(np.ones_like(grid), cache)

figure = new_figure(6, 3)
axes = figure.subplots()
axes.plot(grid, np.maximum(grid, 0), color=MUTED, linewidth=1, label="relu")
axes.plot(grid, y, color=BLUE, label="gelu")
axes.plot(grid, slope, color=ORANGE, label="slope of gelu")
axes.axhline(0, color=MUTED, linewidth=0.5)
axes.legend(frameon=False)
axes.spines[["top", "right"]].set_visible(False)
picture(figure, "GELU follows relu far from 0 and dips to -0.17 near -0.75. Its slope is 0 far to the left, dips to "
                "-0.13, crosses 0 near -0.75 and 0.5 at 0, and rises to 1.13 before it settles at 1.")

# %% [markdown]
# The slope goes *above* 1 and *below* 0: to the left of the lowest point more input means less output.

# %%
lowest = grid[y.argmin()]
print(f"lowest value {y.min():.3f} at x = {lowest:.2f}; slopes from {slope.min():.3f} "
      f"at x = {grid[slope.argmin()]:.2f} to {slope.max():.3f} at x = {grid[slope.argmax()]:.2f}")

# %% [markdown]
# ## GELU, backwards
#
# $y = x\,\Phi(x)$ is a product, and both factors depend on $x$. With the density
# $\varphi(x) = \Phi'(x) = \frac{1}{\sqrt{2\pi}} e^{-x^2/2}$:
#
# $$\frac{dy}{dx} = \underbrace{\Phi(x)}_{x \text{ moves, } \Phi \text{ held}} +
#   \underbrace{x\,\varphi(x)}_{\Phi \text{ moves, } x \text{ held}}.$$
#
# And since every element stands for itself, the chain rule is one multiplication by `dy`. This is the package's code,
# from `functional.py`. (`@accelerated` means that a faster function with the same result may stand in for it.)

# %%
print(inspect.getsource(inspect.unwrap(F.gelu_backward)))

# %% [markdown]
# The forward pass keeps `x` and `Φ(x)`, called `cdf` here: its **cache**. The way back needs both, and $\Phi$ would
# have to be computed again. This is why training takes so much more memory than answering: every operation of every
# layer keeps something until the way back has passed.

# %%
print(check_gradients((F.gelu, F.gelu_backward), rng.standard_normal((3, 4))))

# %% [markdown]
# ### Exercise 4
# Write GELU. `from scipy.special import erf` gives you erf.


# %% gelu tags=["exercise"]
def gelu(x):
    ...


# %%
check("gelu", gelu)

# %% [markdown]
# ### Exercise 5
# Derive its slope on paper, then write the backward pass. It gets `x` itself instead of a cache.


# %% gelu_backward tags=["exercise"]
def gelu_backward(dy, x):
    ...


# %%
check("gelu_backward", gelu_backward)

# %% [markdown]
# ## Two layers: a stack's backward is its forward read in reverse
#
# Now the whole feed-forward network, $y = \mathrm{gelu}(x W_1 + b_1)\, W_2 + b_2$, from $H$ numbers to $F$ and back.
# Nothing new is needed. Read the forward pass from the last line to the first, and call each line's backward with what
# came from the line below it. (The package's `linear_backward` takes no $b$: no slope depends on it.)


# %%
def feed_forward(x, W1, b1, W2, b2):
    u = x @ W1 + b1                         # [R, F]
    a, gelu_cache = F.gelu(u)
    y = a @ W2 + b2                         # [R, H]
    return y, (x, a, gelu_cache, W1, W2)


def feed_forward_backward(dy, cache):
    x, a, gelu_cache, W1, W2 = cache
    da, dW2, db2 = F.linear_backward(dy, a, W2)         # the last line first
    du = F.gelu_backward(da, gelu_cache)
    dx, dW1, db1 = F.linear_backward(du, x, W1)
    return dx, dW1, db1, dW2, db2


H, width = 3, 8
parameters = (rng.standard_normal((H, width)), rng.standard_normal(width),
              rng.standard_normal((width, H)), rng.standard_normal(H))
print(check_gradients((feed_forward, feed_forward_backward), rng.standard_normal((5, H)), *parameters))

# %% [markdown]
# ## What the package does differently, and why
#
# * `layers.Linear` owns `weight` and `bias`, and its `backward` *adds* to their gradients (`weight.grad += dW`) instead
#   of returning them. In ALBERT one layer is applied twelve times, so it gets twelve gradients, and what a weight is to be
#   moved by is their sum. (Notebook 06 is about nothing else.)
# * What one application must remember is not kept on the layer but returned as its cache. Twelve applications have twelve
#   caches.
# * `fast/cpu.py` holds a second version of `linear` and `gelu` that works in blocks and on every core. The one you saw is
#   its test oracle.
# * Published ALBERT v2 models use another GELU (`F.gelu_new`), as Google's code did:
#   $\tfrac12 x \bigl(1 + \tanh\bigl(\sqrt{2/\pi}\,(x + 0.044715\,x^3)\bigr)\bigr)$. On our grid they differ by less
#   than 0.0005:

# %%
difference = np.abs(F.gelu(grid)[0] - F.gelu_new(grid)[0])
print(f"largest difference {difference.max():.6f} at x = {grid[difference.argmax()]:.2f}")

# %% [markdown]
# **Next:** the two operations of a Transformer whose backward pass people get wrong, LayerNorm and softmax.
