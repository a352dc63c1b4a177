# %% [markdown]
# # Solutions to 09 · Pretraining

# %% [markdown]
# **1.** Minus the logarithm of 1/4096: 8.32 nats, or 12 bits.

# %% fresh_model_loss
loss_of_ignorance = np.log(4096)


# %% [markdown]
# **2.** What never occurs adds nothing to the sum: $p \log p$ goes to 0 with $p$.


# %% entropy_in_nats
def entropy_in_nats(counts):
    p = counts[counts > 0] / counts.sum()
    return -(p * np.log(p)).sum()


# %% [markdown]
# **3.** The sum over a row says how often its piece stood on the left, the sum over a column how often one stood on the
# right. A piece that was never on the left gets the frequencies.


# %% smoothed_bigram
def smoothed_bigram(counts, k):
    frequency = counts.sum(0) / counts.sum()
    return (counts + k * frequency) / (counts.sum(1, keepdims=True) + k)


# %% [markdown]
# **4.** Back to sums, then divide once.


# %% mean_over_batches
def mean_over_batches(losses, predictions):
    return (losses * predictions).sum() / predictions.sum()


# %% [markdown]
# **5.** The diagonal above the main one holds what each token spends on its right neighbour.


# %% attention_to_offset
def attention_to_offset(attention, offset):
    return np.diagonal(attention, offset, axis1=-2, axis2=-1).mean(-1)


# %% [markdown]
# **6.** Scale every row to length 1; then a scalar product is a cosine.


# %% nearest_rows
def nearest_rows(table, row, k):
    unit = table / np.linalg.norm(table, axis=1, keepdims=True)
    cosines = unit @ unit[row]
    cosines[row] = -np.inf
    return np.argsort(-cosines)[:k]
