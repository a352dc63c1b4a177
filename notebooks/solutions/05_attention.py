# %% [markdown]
# # Solutions to 05 · Attention

# %% [markdown]
# **1.** The bias is added last: it is not a score, and is not to be divided.


# %% attention_scores
def attention_scores(query, key, bias):
    return query @ key.swapaxes(-1, -2) / math.sqrt(query.shape[-1]) + bias


# %% [markdown]
# **2.** Scores, probabilities along each row, mean of the values.


# %% attention_forward
def attention_forward(query, key, value, bias):
    scores = query @ key.swapaxes(-1, -2) / math.sqrt(query.shape[-1]) + bias
    return F.softmax(scores) @ value


# %% [markdown]
# **3.** The values met the dropped probabilities; the probabilities were multiplied by the scale, so their gradient is.


# %% dropout_on_probabilities_backward
def dropout_on_probabilities_backward(dy, probs, value, scale):
    d_value = (probs * scale).swapaxes(-1, -2) @ dy
    d_probs = dy @ value.swapaxes(-1, -2) * scale
    return d_probs, d_value


# %% [markdown]
# **4.** Lines (4), (2) and (1). A key and a value are *columns* of the scores: theirs are the two transpositions.


# %% attention_backward
def attention_backward(d_context, query, key, value, bias):
    root = math.sqrt(query.shape[-1])
    probs = F.softmax(query @ key.swapaxes(-1, -2) / root + bias)
    d_value = probs.swapaxes(-1, -2) @ d_context
    d_probs = d_context @ value.swapaxes(-1, -2)
    d_scores = probs * (d_probs - (probs * d_probs).sum(-1, keepdims=True)) / root
    return d_scores @ key, d_scores.swapaxes(-1, -2) @ query, d_value


# %% [markdown]
# **5.** The way back of exercise 4 for one head, then three linear maps whose gradients in $x$ add up.


# %% self_attention_backward
def self_attention_backward(dy, x, W_query, W_key, W_value):
    query, key, value = x @ W_query, x @ W_key, x @ W_value
    root = math.sqrt(query.shape[-1])
    probs = F.softmax(query @ key.T / root)
    d_value = probs.T @ dy
    d_scores = F.softmax_backward(dy @ value.T, probs) / root
    d_query, d_key = d_scores @ key, d_scores.T @ query
    dx = d_query @ W_query.T + d_key @ W_key.T + d_value @ W_value.T
    return dx, x.T @ d_query, x.T @ d_key, x.T @ d_value


# %% [markdown]
# **6.** The keys' bias has a number for each of the $H = 768$ features, all heads together; and as the layer is shared,
# there is one such bias.

# %% biases_without_gradient
biases = 768

# %% [markdown]
# **7.** $2T^2H = 4TH^2$ gives $T = 2H = 1536$, three times ALBERT's limit.

# %% tokens_where_costs_meet
tokens = 2 * 768
