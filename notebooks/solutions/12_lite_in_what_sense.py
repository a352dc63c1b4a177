# %% [markdown]
# # Solutions to 12 · Lite in what sense?

# %% [markdown]
# **1.** Four maps from $H$ to $H$ and a norm; two maps and a norm; each once, or once for every layer.


# %% sharing_parameters
def sharing_parameters(hidden, inner, layers, sharing):
    attention = 4 * (hidden * hidden + hidden) + 2 * hidden
    feed_forward = hidden * inner + inner + inner * hidden + hidden + 2 * hidden
    attentions = 1 if sharing in ("all", "attention") else layers
    feed_forwards = 1 if sharing in ("all", "ffn") else layers
    return attentions * attention + feed_forwards * feed_forward


# %% [markdown]
# **2.** It is the paper's habit, not a principle.


# %% printed_millions
def printed_millions(without_pooler, with_pooler, shared):
    return round((with_pooler if shared else without_pooler) / 1e6)


# %% [markdown]
# **3.** $4H^2$ multiply-adds for the four maps, $2TH$ among the tokens, $2HF$ in the feed-forward network; two FLOPs
# each:
# $8H^2 + 4TH + 4HF$.


# %% layer_flops
def layer_flops(hidden, inner, tokens):
    return 2 * (4 * hidden**2 + 2 * tokens * hidden + 2 * hidden * inner)


# %% [markdown]
# **4.** $2(n-1)$ steps, in each $\frac1n$ of $4P$ bytes. For many machines that is nearly $8P$ bytes, however many
# there are.


# %% exchange_seconds
def exchange_seconds(parameters, machines, bytes_per_second):
    return 2 * (machines - 1) * (4 * parameters / machines) / bytes_per_second


# %% [markdown]
# **5.** First the differences, seed by seed; then everything is about these $n$ numbers.


# %% paired_difference
def paired_difference(ours, theirs):
    d = ours - theirs
    return d.mean(), d.std(ddof=1) / np.sqrt(len(d))
