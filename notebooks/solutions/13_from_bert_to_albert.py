# %% [markdown]
# # Solutions to 13 · From BERT to ALBERT

# %% [markdown]
# **1.** Cut off what is before the block and translate the rest. Order matters: `ffn` with its dot, so that
# `ffn_output` is not taken for it.


# %% bert_name
def bert_name(name, layer):
    name = name.removeprefix("albert.encoder.albert_layer_groups.0.albert_layers.0.")
    for ours, theirs in (("attention.dense.", "attention.output.dense."),
                         ("attention.LayerNorm.", "attention.output.LayerNorm."),
                         ("attention.query.", "attention.self.query."),
                         ("attention.key.", "attention.self.key."),
                         ("attention.value.", "attention.self.value."),
                         ("ffn.", "intermediate.dense."),
                         ("ffn_output.", "output.dense."),
                         ("full_layer_layer_norm.", "output.LayerNorm.")):
        if name.startswith(ours):
            return f"bert.encoder.layer.{layer}.{theirs}{name.removeprefix(ours)}"


# %% [markdown]
# **2.** The number of layers does not occur: a block is counted once, however often it is applied.


# %% encoder_parameters
def encoder_parameters(vocab, size, hidden, layers, groups):
    linear = lambda inputs, outputs: inputs * outputs + outputs
    block = 4 * linear(hidden, hidden) + 2 * (2 * hidden)
    block += linear(hidden, 4 * hidden) + linear(4 * hidden, hidden)
    return vocab * size + (linear(size, hidden) if size != hidden else 0) + groups * block


# %% [markdown]
# **3.** The mask weighs the tokens with 1 and 0, and its sum is their number.


# %% sentence_vectors
def sentence_vectors(hidden, mask):
    mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
    return mean / np.linalg.norm(mean, axis=-1, keepdims=True)


# %% [markdown]
# **4.** Both tasks agree about what is true. They differ in what is not.


# %% segment_pair
def segment_pair(first, second, stranger, task, positive):
    if positive:
        return first, second, 0
    if task == "sop":
        return second, first, 1
    return first, stranger, 1


# %% [markdown]
# **5.** The right halves belong one place further on; the last one's right half belongs to the zeros, so nobody
# gets it.


# %% two_words_backward
def two_words_backward(dh, x, W, b):
    pairs = np.concatenate([x, np.concatenate([x[1:], np.zeros_like(x[:1])])], -1)
    du = dh * (1 - two_words(x, W, b)**2)
    left, right = np.split(du @ W.T, 2, -1)
    dx = left.copy()
    dx[1:] += right[:-1]
    return dx, pairs.T @ du, du.sum(0)
