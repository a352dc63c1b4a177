# %% [markdown]
# # Solutions to 06 · The block, and sharing it

# %% [markdown]
# **1.** Both roads begin with `dy`: one hands it on, the other goes through tanh and the matrix.


# %% residual_backward
def residual_backward(dy, x, W):
    du = dy * (1 - np.tanh(x @ W)**2)
    return dy + du @ W.T, x.T @ du


# %% [markdown]
# **2.** The forward pass again, then its lines in reverse. The residual's share is `ds`, what came out of the norm.


# %% block_backward
def block_backward(dy, x, W1, b1, W2, b2, gain, shift):
    a, gelu_cache = F.gelu(F.linear(x, W1, b1))
    _, norm_cache = F.layer_norm(x + F.linear(a, W2, b2), gain, shift, 1e-12)

    ds, d_gain, d_shift = F.layer_norm_backward(dy, norm_cache)
    da, dW2, db2 = F.linear_backward(ds, a, W2)
    dx, dW1, db1 = F.linear_backward(F.gelu_backward(da, gelu_cache), x, W1)
    return dx + ds, dW1, db1, dW2, db2, d_gain, d_shift


# %% [markdown]
# **3.** One input for each application, and one `dW` that all of them add to.


# %% shared_backward
def shared_backward(dy, x, W, depth):
    inputs = [x]
    for _ in range(depth):
        inputs.append(np.tanh(inputs[-1] @ W))
    dW = np.zeros_like(W)
    for i in reversed(range(depth)):
        du = dy * (1 - inputs[i + 1]**2)
        dW += inputs[i].T @ du
        dy = du @ W.T
    return dy, dW


# %% [markdown]
# **4.** One attention half of 2,363,904 and twelve feed-forward halves of 4,723,968: 59,051,520.

# %% shared_attention_parameters
attention = 4 * (768 * 768 + 768) + 2 * 768
feed_forward = (768 * 3072 + 3072) + (3072 * 768 + 768) + 2 * 768
shared_attention_parameters = attention + 12 * feed_forward

# %% [markdown]
# **5.** Multiply first, then divide in whole numbers.


# %% group_of_layer
def group_of_layer(layers, groups):
    return [i * groups // layers for i in range(layers)]


# %% [markdown]
# **6.** Three products become four: 4/3.

# %% recomputing_cost
recomputing_cost = 4 / 3
