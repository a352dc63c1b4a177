# %% [markdown]
# # Solutions to 00 · Arrays and backends

# %% [markdown]
# **1.** `None` adds an axis of size 1. Every head (axis 1) and every token that asks (axis 2) sees the same padding.


# %% attention_bias
def attention_bias(mask):
    return np.where(mask, 0.0, -10000.0)[:, None, None, :]


# %% [markdown]
# **2.** $t$ and $s$ are two different tokens, so they need two letters. $d$ is missing on the right: it is summed over.


# %% scores_by_einsum
def scores_by_einsum(query, key):
    return np.einsum("btnd,bsnd->bnts", query, key)


# %% [markdown]
# **3.** First cut the last axis, which is neighbours in memory; then let heads and tokens change places.


# %% split_heads
def split_heads(x, heads):
    B, T, H = x.shape
    return x.reshape(B, T, heads, H // heads).swapaxes(1, 2)


# %% [markdown]
# **4.** The same two steps, undone from the last to the first.


# %% merge_heads
def merge_heads(x):
    B, N, T, D = x.shape
    return x.swapaxes(1, 2).reshape(B, T, N * D)


# %% [markdown]
# **5.** A number for each sequence, head, asking token and token looked at, 4 bytes each: 402,653,184 bytes, or 384
# MiB.

# %% bytes_of_scores
bytes_of_scores = 32 * 12 * 512 * 512 * 4

# %% [markdown]
# **6.** The module comes from the array, everything else is methods and operators. `keepdims=True` leaves $[..., 1]$,
# which is repeated along the row. (`** 0.5` in place of `sqrt` needs no module at all.)


# %% unit_rows
def unit_rows(x):
    xp = array_module(x)
    return x / xp.sqrt((x * x).sum(-1, keepdims=True))
