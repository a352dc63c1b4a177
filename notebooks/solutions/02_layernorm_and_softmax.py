# %% [markdown]
# # Solutions to 02 · LayerNorm and softmax

# %% [markdown]
# **1.** `keepdims=True` leaves an axis of 1, along which mean and deviation are repeated for the row that they are of.


# %% layer_norm
def layer_norm(x, weight, bias, eps):
    centred = x - x.mean(-1, keepdims=True)
    variance = (centred**2).mean(-1, keepdims=True)
    return weight * centred / np.sqrt(variance + eps) + bias


# %% [markdown]
# **2.** $g$ first, with the gain in it; then remove from $g$ its mean and its share of $\hat x$. Gain and shift are
# used in every row, so theirs are sums over all axes but the last.

# %% layer_norm_backward
def layer_norm_backward(dy, x, weight, bias, eps):
    centred = x - x.mean(-1, keepdims=True)
    std = np.sqrt((centred**2).mean(-1, keepdims=True) + eps)
    x_hat = centred / std
    g = dy * weight
    dx = (g - g.mean(-1, keepdims=True) - x_hat * (g * x_hat).mean(-1, keepdims=True)) / std
    rows = tuple(range(x.ndim - 1))
    return dx, (dy * x_hat).sum(rows), dy.sum(rows)


# %% [markdown]
# **3.** The largest score of each row becomes 0.


# %% safe_softmax
def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


# %% [markdown]
# **4.** A score is to rise by as much as its $dp$ exceeds the average under $p$, times $p$.


# %% softmax_backward
def softmax_backward(dp, x):
    p = F.softmax(x)
    return p * (dp - (p * dp).sum(-1, keepdims=True))


# %% [markdown]
# **5.** $-\log\frac{1}{30000} = \log 30000 \approx 10.309$ nats.

# %% loss_of_a_guess
loss_of_a_guess = np.log(30000)

# %% [markdown]
# **6.** Take out the rows that ask; the logarithm of the softmax on paper; the mean of what is left.


# %% cross_entropy
def cross_entropy(logits, labels):
    asked = labels != -100
    z, c = logits[asked], labels[asked]
    shifted = z - z.max(-1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return -log_probs[np.arange(len(c)), c].mean()


# %% [markdown]
# **7.** $(p - \mathrm{onehot})/M$ in the asked rows, 0 in the others.


# %% cross_entropy_backward
def cross_entropy_backward(dy, logits, labels):
    asked = np.flatnonzero(labels != -100)
    d_logits = np.zeros_like(logits)
    d_logits[asked] = F.softmax(logits[asked])
    d_logits[asked, labels[asked]] -= 1
    return dy * d_logits / len(asked)
