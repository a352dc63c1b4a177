# %% [markdown]
# # Solutions to 04 · Factorized embeddings

# %% [markdown]
# **1.** Scatter and add. `dW[ids] += dy` would keep one gradient for each repeated id.


# %% embedding_backward
def embedding_backward(dy, W, ids):
    dW = np.zeros_like(W)
    np.add.at(dW, ids, dy)
    return dW


# %% [markdown]
# **2.** 3,840,000 for the table and 524,288 for the map: 4,364,288, where the full table would have 122,880,000.

# %% factorized_parameters
factorized_parameters = 30000 * 128 + 128 * 4096

# %% [markdown]
# **3.** $VE + EH < VH$ means $E < VH / (V + H) = 748.8$.

# %% break_even_size
break_even_size = 30000 * 768 // (30000 + 768)

# %% [markdown]
# **4.** The linear map's three gradients over all rows, and then the scatter-add of `dx`.


# %% factorized_backward
def factorized_backward(dy, W, M, b, ids):
    x, dy_rows = W[ids].reshape(-1, W.shape[1]), dy.reshape(-1, dy.shape[-1])
    dW = np.zeros_like(W)
    np.add.at(dW, ids, dy @ M.T)
    return dW, x.T @ dy_rows, dy_rows.sum(0)


# %% [markdown]
# **5.** A sum hands `dy` to each table. Two are scattered by their ids; the positions are the same for every sequence,
# so the sum over the batch is all there is to add. Rows beyond the text get 0.


# %% three_tables_backward
def three_tables_backward(dy, words, positions, types, ids, type_ids):
    d_words, d_positions, d_types = map(np.zeros_like, (words, positions, types))
    np.add.at(d_words, ids, dy)
    d_positions[:ids.shape[1]] = dy.sum(0)
    np.add.at(d_types, type_ids, dy)
    return d_words, d_positions, d_types


# %% [markdown]
# **6.** From the last line to the first: the decoder's share of $dW$, then through tanh and $A$, then the lookup's
# share on top.


# %% tied_backward
def tied_backward(dy, W, A, ids):
    x = W[ids]
    h = np.tanh(x @ A)
    dW = dy.T @ h                           # as output
    du = (dy @ W) * (1 - h**2)
    np.add.at(dW, ids, du @ A.T)            # as input
    return dW, x.T @ du
