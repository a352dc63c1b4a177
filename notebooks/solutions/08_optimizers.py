# %% [markdown]
# # Solutions to 08 · Optimizers

# %% [markdown]
# **1.** $y$ is multiplied by $1 - 25\eta$, which is $-1$ at $\eta = 2/25$.

# %% largest_stable_rate
largest_stable_rate = 2 / 25

# %% [markdown]
# **2.** 0.1, then 0.19, then 0.271: $1 - 0.9^3$.

# %% m_after_three_steps
m_after_three_steps = 1 - 0.9**3

# %% [markdown]
# **3.** The decay is added to the step, after the division.


# %% adamw_step
def adamw_step(theta, g, m, v, lr, decay):
    m = 0.9 * m + 0.1 * g
    v = 0.999 * v + 0.001 * g**2
    u = m / (np.sqrt(v) + 1e-6) + decay * theta
    return theta - lr * u, m, v


# %% [markdown]
# **4.** One length over all tensors, one factor for all, never above 1.


# %% clip_gradients
def clip_gradients(gradients, max_norm):
    length = np.sqrt(sum((g**2).sum() for g in gradients))
    return [g * min(1, max_norm / length) for g in gradients]


# %% [markdown]
# **5.** One ratio for the tensor, and 1 where one of the lengths is 0.


# %% lamb_step
def lamb_step(theta, u, lr):
    a, b = np.linalg.norm(theta), np.linalg.norm(u)
    ratio = a / b if a > 0 and b > 0 else 1
    return theta - lr * ratio * u


# %% [markdown]
# **6.** The decay counts from step 0: $0.00176\,(1 - 3125/125000) = 0.001716$.

# %% rate_after_warmup
rate_after_warmup = 0.00176 * (1 - 3125 / 125000)
