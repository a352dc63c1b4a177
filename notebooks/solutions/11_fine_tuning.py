# %% [markdown]
# # Solutions to 11 · Fine-tuning

# %% [markdown]
# **1.** The five equations, from the last line of the forward pass to the first. All of $x$ but its first token gets 0.


# %% head_backward
def head_backward(dy, x, Wp, bp, W, b):
    pooled = np.tanh(x[:, 0] @ Wp + bp)
    du = (dy @ W.T) * (1 - pooled**2)
    dx = np.zeros_like(x)
    dx[:, 0] = du @ Wp.T
    return dx, x[:, 0].T @ du, du.sum(0), pooled.T @ dy, dy.sum(0)


# %% [markdown]
# **2.** The right ones of each label, twice, over its row and its column together. Then the mean over the labels.


# %% macro_f1
def macro_f1(counts):
    return np.mean(2 * np.diag(counts) / (counts.sum(0) + counts.sum(1)))


# %% [markdown]
# **3.** One power of the decay for each height below the head: from `groups + 1` at the embeddings to 0.


# %% relative_rates
def relative_rates(groups, decay):
    return np.array([decay**height for height in range(groups + 1, -1, -1)])


# %% [markdown]
# **4.** The softmax runs over the tokens, axis 1, for both columns at once. Then "probability minus one at the label",
# half of it for each of the two losses, a share of $1/B$ for each text.


# %% span_loss_backward
def span_loss_backward(d_loss, x, W, starts, ends):
    z = x @ W                                                   # [B, T, 2]
    dz = np.exp(z - z.max(1, keepdims=True))
    dz /= dz.sum(1, keepdims=True)
    rows = np.arange(len(x))
    dz[rows, starts, 0] -= 1
    dz[rows, ends, 1] -= 1
    dz *= d_loss / (2 * len(x))
    return dz @ W.T, x.reshape(-1, x.shape[-1]).T @ dz.reshape(-1, 2)


# %% [markdown]
# **5.** All sums in one array; what is not allowed is $-\infty$; the largest of the rest.


# %% best_span
def best_span(start, end, longest):
    T = len(start)
    length = np.arange(T) - np.arange(T)[:, None] + 1           # of the answer from row to column
    sums = np.where((length >= 1) & (length <= longest), start[:, None] + end, -np.inf)
    return np.unravel_index(sums.argmax(), sums.shape)


# %% [markdown]
# **6.** Everybody may look at the columns of the source. At a column of the target only its own row and those below it
# may, and these are all of the target.


# %% who_looks
def who_looks(types):
    source_column = types[None, :] == 0
    not_later = np.tri(len(types), dtype=bool)
    return (source_column | not_later).astype(int)
