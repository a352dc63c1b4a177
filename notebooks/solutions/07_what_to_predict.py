# %% [markdown]
# # Solutions to 07 · What to predict

# %% [markdown]
# **1.** One over n, divided by the sum.


# %% ngram_probabilities
def ngram_probabilities(max_n):
    weights = 1 / np.arange(1, max_n + 1)
    return weights / weights.sum()


# %% [markdown]
# **2.** $n \cdot \frac{1/n}{11/6}$ is 6/11 for every n, and there are three of them: 18/11, about 1.64 words.

# %% mean_ngram_length
mean_length = 18 / 11


# %% [markdown]
# **3.** First what a token would become, then whether it was chosen. The labels ask for every chosen token, whatever
# became of it.


# %% corrupt_tokens
def corrupt_tokens(ids, chosen, fate, random_ids):
    spoilt = np.where(fate < 0.8, 4, np.where(fate < 0.9, random_ids, ids))
    return np.where(chosen, spoilt, ids), np.where(chosen, ids, -100)


# %% [markdown]
# **4.** Forward to the probabilities again, for the asked rows alone; subtract 1 at the labels; divide by M. Then a linear
# map backwards, and the rows go back to where they came from.


# %% masked_lm_loss_backward
def masked_lm_loss_backward(d_loss, x, W, b, labels):
    asked = np.flatnonzero(labels != -100)                  # [M]
    dz = F.softmax(x[asked] @ W.T + b)                      # [M, V]
    dz[np.arange(len(asked)), labels[asked]] -= 1
    dz *= d_loss / len(asked)
    dx = np.zeros_like(x)                                   # [T, H]
    dx[asked] = dz @ W
    return dx, dz.T @ x[asked], dz.sum(0)


# %% [markdown]
# **5.** Only the texts change places.


# %% order_instance
def order_instance(first, second, swapped):
    a, b = (second, first) if swapped else (first, second)
    input_ids = [2, *a, 3, *b, 3]
    token_type_ids = [0] * (len(a) + 2) + [1] * (len(b) + 1)
    return np.array(input_ids), np.array(token_type_ids), int(swapped)


# %% [markdown]
# **6.** The scalar product, over both lengths.


# %% bag_cosine
def bag_cosine(a, b, vocab_size):
    counts_a, counts_b = np.bincount(a, minlength=vocab_size), np.bincount(b, minlength=vocab_size)
    return counts_a @ counts_b / (np.linalg.norm(counts_a) * np.linalg.norm(counts_b))


# %% [markdown]
# **7.** $2 \cdot 0.5 / \sqrt n = 0.01$, so $\sqrt n = 100$: ten thousand.

# %% pairs_to_be_sure
n_pairs = (2 * 0.5 / 0.01)**2
