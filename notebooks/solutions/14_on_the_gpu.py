# %% [markdown]
# # Solutions to 14 · On the GPU

# %% [markdown]
# **1.** Two clocks. A kernel begins at the later of two times; a read puts the host's clock to the device's.


# %% finish_time
def finish_time(launch, works, reads):
    host = device = 0.0
    for work, read in zip(works, reads, strict=True):
        host += launch
        device = max(host, device) + work
        if read:
            host = device
    return max(host, device)


# %% [markdown]
# **2.** The loop `for (j = threadIdx.x; j < columns; j += blockDim.x)`.


# %% columns_of_thread
def columns_of_thread(thread, threads, columns):
    return list(range(thread, columns, threads))


# %% [markdown]
# **3.** In each step the groups of lanes that hold the same sum become twice as large. After five steps there is one
# group.


# %% warp_sum
def warp_sum(values):
    lanes = np.arange(32)
    for distance in (16, 8, 4, 2, 1):
        values = values + values[lanes ^ distance]
    return values


# %% [markdown]
# **4.** For one token it is about a half: each number of the weight is read for one multiplication and one addition.


# %% intensity
def intensity(tokens, inputs, outputs):
    moved = tokens * inputs + inputs * outputs + tokens * outputs
    return 2 * tokens * inputs * outputs / (4 * moved)


# %% [markdown]
# **5.** The kernel's line, and then 16 zeros in place of a shift.


# %% to_bfloat16
def to_bfloat16(x):
    bits = x.view(np.uint32)
    last = (bits >> np.uint32(16)) & np.uint32(1)
    return ((bits + np.uint32(0x7fff) + last) & np.uint32(0xffff0000)).view(np.float32)


# %% [markdown]
# **6.** There are eight digits, the leading 1 among them, so at 256 = 2⁸ neighbours are 2 apart. 257 is in the middle
# between 256 and 258, and 256 ends in 0.

# %% counting_stops
counting_stops = 256
