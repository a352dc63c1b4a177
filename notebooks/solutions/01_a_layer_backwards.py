# %% [markdown]
# # Solutions to 01 · A layer, backwards

# %% [markdown]
# **1.** The shapes leave no choice. The bias is added to every row, so its gradient is the sum over the rows.


# %% linear_backward
def linear_backward(dy, x, W, b):
    return dy @ W.T, x.T @ dy, dy.sum(0)


# %% [markdown]
# **2.** Flatten to rows: for $dW$ and $db$ it does not matter which sequence a token is of.


# %% linear_backward_3d
def linear_backward_3d(dy, x, W, b):
    dy_rows, x_rows = dy.reshape(-1, dy.shape[-1]), x.reshape(-1, x.shape[-1])
    return dy @ W.T, x_rows.T @ dy_rows, dy_rows.sum(0)


# %% [markdown]
# **3.** A weight for each pair, and a bias for each output: 2,362,368.

# %% parameters_of_a_linear
parameters = 768 * 3072 + 3072

# %% [markdown]
# **4.** The formula as it stands. (`2**0.5` is a number of Python's own, so that a float32 stays one: notebook 00.)


# %% gelu
def gelu(x):
    from scipy.special import erf
    return x * 0.5 * (1 + erf(x / 2**0.5))


# %% [markdown]
# **5.** The product rule, times what comes from above.


# %% gelu_backward
def gelu_backward(dy, x):
    from scipy.special import erf
    cdf = 0.5 * (1 + erf(x / 2**0.5))
    pdf = np.exp(-x**2 / 2) / (2 * np.pi)**0.5
    return dy * (cdf + x * pdf)
