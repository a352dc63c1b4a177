# %% [markdown]
# # 14 · On the GPU
#
# > An obstacle to answering this question is the memory limitations of available hardware. Given that current
# > state-of-the-art models often have hundreds of millions or even billions of parameters, it is easy to hit these
# > limitations as we try to scale our models. (Lan et al., section 1)
#
# A GPU does not compute differently. It does the same additions and multiplications, very many at a time. What is
# different is what costs: **starting something**, **waiting for something**, and above all **moving numbers**. This
# notebook explains the three, on any machine. It needs no GPU. If you have one, it says so and uses it.
#
# You need notebooks 00 to 06. About 40 minutes.

# %%
import inspect
import math
import re
import time

import numpy as np

from tinyalbert import AlbertConfig, AlbertForPreTraining
from tinyalbert import functional as F
from tinyalbert.backend import get_backend
from tinyalbert.course import check, picture
from tinyalbert.course.chapter14 import timeline
from tinyalbert.course.device import DeviceBackend
from tinyalbert.course.pictures import BLUE, GREEN, INK, MUTED, ORANGE, SKY, heatmap, new_figure
from tinyalbert.errors import InputError
from tinyalbert.fast import textbook, twins_of
from tinyalbert.fast.gpu_kernels import SOURCE
from tinyalbert.fast.parallel import for_blocks

rng = np.random.default_rng(0)
np.set_printoptions(precision=4, suppress=True)

try:
    gpu = get_backend("cupy")
    print("There is a GPU here, and CuPy can use it.")
except InputError as error:
    gpu = None
    print(error)
    print("So all that follows is done with NumPy.")

# %% [markdown]
# ## The door
#
# You know the package's one trick from notebook 00: a function asks its array where it lives. `functional.py`
# therefore runs on a GPU as it stands. It would be slow there, and that is where the second door comes in. A
# function marked `@accelerated` may be served by a *twin* of the same name:

# %%
print(inspect.getsource(twins_of))

# %% [markdown]
# There are twins for the CPU (`fast/cpu.py`) and for the GPU (`fast/gpu.py`). The textbook stays the definition:
# each twin is tested against it. One step of a small model through each door that this machine has:

# %%
config = AlbertConfig(vocab_size=300, embedding_size=32, hidden_size=64, num_hidden_layers=4,
                      num_attention_heads=4, intermediate_size=256, max_position_embeddings=64)
ids = rng.integers(5, 300, (8, 64))
labels = np.where(rng.random(ids.shape) < 0.15, ids, -100)


def one_step(backend):
    model = AlbertForPreTraining(config, backend=backend, seed=0)
    out, cache = model.forward(ids, labels=labels)
    model.backward(cache)
    squares = sum((p.grad * p.grad).sum() for p in model.named_parameters().values())
    return float(out.loss), math.sqrt(float(squares))


with textbook():
    print("NumPy, textbook   loss {:.6f}, length of the gradient {:.6f}".format(*one_step("numpy")))
print("NumPy, twins      loss {:.6f}, length of the gradient {:.6f}".format(*one_step("numpy")))
if gpu:
    print("CuPy, twins       loss {:.6f}, length of the gradient {:.6f}".format(*one_step("cupy")))

# %% [markdown]
# The same numbers, up to rounding. Now to what they cost.
#
# ## Two clocks
#
# A program on a GPU runs on two machines. The **host** (your Python) writes orders into a queue: "multiply these",
# "add those". The **device** works through the queue. An order takes the host a few millionths of a second; then it
# goes on at once. It runs ahead, and as long as the queue is never empty, the device never rests.
#
# Until somebody asks for a number. `float(loss)` cannot be answered before all earlier orders are done. The host
# stops, the queue runs dry, and when the answer is there the device waits until the host has got going again.

# %%
KERNELS, LAUNCH, WORK = 12, 5.0, 7.0                    # millionths of a second, say
figure = new_figure(8, 3)
cases = {"read one number at the end": KERNELS, "read a number after every third kernel": 3}
for axes, (title, every) in zip(figure.subplots(2, 1, sharex=True), cases.items(), strict=True):
    spans = timeline(LAUNCH, [WORK] * KERNELS, [(i + 1) % every == 0 for i in range(KERNELS)])
    for order, kernel in spans:
        axes.barh(1, order[1] - order[0], left=order[0], color=BLUE, edgecolor="white")
        axes.barh(0, kernel[1] - kernel[0], left=kernel[0], color=ORANGE, edgecolor="white")
    axes.set_yticks([0, 1], ["device", "host"])
    axes.set_title(f"{title}: {spans[-1][1][1]:.0f} µs", fontsize=9, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
axes.set_xlabel("µs")
picture(figure, "Two timelines with a host row and a device row. Above, the host's orders are done "
                "early and the device's kernels follow each other without a gap. Below, after "
                "every third kernel the host waits, and then the device waits for the next order: "
                "gaps in both rows.")

# %% [markdown]
# ### Exercise 1
# When is everything done? Write it: each order takes the host `launch`; kernel $i$ takes the device `works[i]` and
# begins neither before its order is written nor before the kernel before it is done; where `reads[i]` is true the
# host goes on only when kernel $i$ is done.


# %% finish_time tags=["exercise"]
def finish_time(launch, works, reads):
    """a number, numbers, booleans -> the time at which host and device are done"""
    ...


# %%
check("finish_time", finish_time)

# %% [markdown]
# ## What must not happen in a step
#
# So the rule for forward, backward and optimizer is: **never need a number, and never move an array.** The trouble
# is that breaking it is no error. CuPy answers `float(x)` obediently; `if loss > 10:` works. Nobody notices but the
# clock.
#
# Hence the *strict double* of notebook 00, an array that refuses what would wait. It is little code; here it is
# once more, in twenty lines. NumPy looks for a handful of methods on an object before it uses it as an array or a
# number. Let each refuse:


# %%
def refuse(what):
    def method(self, *args, **settings):
        raise TypeError(f"{what} waits for the device, or copies")
    return method


class Strict:
    __array_ufunc__ = None                          # np.exp(x), array + x
    __array__ = refuse("a NumPy copy")              # np.asarray(x)
    __float__ = refuse("float(x)")
    __bool__ = refuse("if x:")
    __iter__ = refuse("for row in x:")

    def __init__(self, host):
        self.host = np.asarray(host)

    def __add__(self, other):
        if not isinstance(other, (Strict, int, float)) or isinstance(other, np.floating):
            raise TypeError(f"adding a {type(other).__name__} copies it to the device")
        return Strict(self.host + (other.host if isinstance(other, Strict) else other))


x = Strict([1.0, 2.0])
attempts = {"x + x": lambda: x + x, "x + 1.0": lambda: x + 1.0,
            "x + np.ones(2)": lambda: x + np.ones(2),
            "float(x + x)": lambda: float(x + x), "if x: ...": lambda: bool(x)}
for text, action in attempts.items():
    try:
        print(f"{text:15} works: {action().host}")
    except TypeError as error:
        print(f"{text:15} {error}")

# %% [markdown]
# The tests' double has the other operators too, and runs a whole training step: forward, backward, clipping,
# optimizer. If somebody adds a hidden wait anywhere, that test fails, on any laptop.
#
# How does one decide without an `if`? Clipping is the classic case. *If the gradient is longer than 1, shorten it*
# needs a number. The same as arithmetic needs none:

# %%
device = get_backend(DeviceBackend())
grad = device.asarray(rng.standard_normal((3, 4)), dtype=np.float32)


def clip_by_asking(grad, limit):
    length = (grad * grad).sum() ** 0.5
    return grad * (limit / length) if length > limit else grad


def clip_by_computing(grad, limit):
    length = (grad * grad).sum() ** 0.5
    return grad * (limit / device.xp.maximum(length, limit))


for clip in (clip_by_asking, clip_by_computing):
    try:
        print(f"{clip.__name__:18} length {np.linalg.norm(clip(grad, 1.0).get()):.4f}")
    except TypeError as error:
        print(f"{clip.__name__:18} {error}")

# %% [markdown]
# The first one's `if` asked for a truth. The second computes a factor that happens to be 1 when there is nothing to
# clip, and nobody has to know.
#
# ## What a kernel is
#
# An order in the queue is a **kernel**: a small program that a great many **threads** run at the same time, each
# with its own number. Threads come in **blocks**, blocks in a **grid**. A thread finds its work from three numbers:
# in which block it is, how large blocks are, and which one it is within its block.

# %%
from matplotlib.patches import Rectangle


def draw_grid(axes, elements, threads):
    blocks = -(-elements // threads)
    for i in range(blocks * threads):
        used = i < elements
        left = i + 0.4 * (i // threads)
        colour = (BLUE, SKY)[i // threads % 2] if used else "#e3e6ea"
        axes.add_patch(Rectangle((left, 0), 0.9, 0.9, color=colour))
        axes.text(left + 0.45, 0.45, str(i % threads), ha="center", va="center", fontsize=8,
                  color="white" if used else MUTED)
        axes.text(left + 0.45, -0.35, f"x[{i}]" if used else "-", ha="center", va="center",
                  fontsize=7, color=INK)
    for block in range(blocks):
        axes.text(block * (threads + 0.4) + threads / 2, 1.25, f"block {block}", ha="center",
                  fontsize=9, color=INK)
    axes.set_xlim(-0.2, blocks * (threads + 0.4))
    axes.set_ylim(-0.7, 1.7)
    axes.axis("off")


figure = new_figure(8, 1.4)
draw_grid(figure.subplots(), elements=13, threads=4)
picture(figure, "Thirteen elements on a grid of four blocks with four threads each. Every square "
                "is a thread with its number in its block, below it the element that it works on. "
                "The last three threads have none.")

# %% [markdown]
# Thirteen elements, four threads in a block: $\lceil 13/4 \rceil = 4$ blocks, sixteen threads. Three have nothing
# to do, and must notice it: `if (i < n)`. This is the package's GELU, in CUDA C:

# %%
def kernel_source(name):
    return re.search(rf"^KERNEL {name}\(.*?^}}", SOURCE, re.MULTILINE | re.DOTALL).group()


print(re.search(r"^__device__ Index element.*", SOURCE, re.MULTILINE).group())
print(kernel_source("gelu"))

# %% [markdown]
# To see what it does, let us *be* the GPU: a loop over blocks, and in it one over threads. The kernel is the same
# three lines.

# %%
from scipy.special import erf


def launch(kernel, blocks, threads, *args):
    for block in range(blocks):
        for thread in range(threads):
            kernel(block, threads, thread, *args)


def gelu_kernel(block, threads, thread, x, y, n):
    i = block * threads + thread
    if i < n:
        y[i] = x[i] * (0.5 + 0.5 * erf(x[i] * 0.70710678))


x = rng.standard_normal(1000).astype(np.float32)
y = np.full_like(x, np.nan)
launch(gelu_kernel, -(-len(x) // 256), 256, x, y, len(x))
print(f"{-(-len(x) // 256)} blocks, largest difference from F.gelu "
      f"{np.abs(y - F.gelu(x)[0]).max():.1e}")

# %% [markdown]
# A real GPU runs the blocks in any order, and many at once. So no block may count on another one being done. Within
# a block threads can meet.
#
# ### Exercise 2
# For a layer norm a *block* has a row of $H$ columns, and there are fewer threads than columns. Each thread takes
# several: thread 0 columns 0, `threads`, 2 · `threads`, ... Neighbouring threads then read neighbouring numbers at
# the same moment, which memory serves in one go. Which columns are a thread's?


# %% columns_of_thread tags=["exercise"]
def columns_of_thread(thread, threads, columns):
    """-> the list of its columns"""
    ...


# %%
check("columns_of_thread", columns_of_thread)

# %% [markdown]
# ### Adding up what many threads hold
#
# A mean needs all numbers of a row, and each thread holds a part. Threads run in **warps** of 32, which can show each
# other their numbers directly. Adding up takes five steps, not 31: each lane adds the number of the lane whose index
# differs in one bit, `lane ^ 16`, then `lane ^ 8`, 4, 2, 1.

# %%
lanes = np.arange(8)
values = [np.array([3.0, 1, 4, 1, 5, 9, 2, 6])]
for distance in (4, 2, 1):                              # eight lanes here, to have it on a page
    values.append(values[-1] + values[-1][lanes ^ distance])
    print(f"with lane ^ {distance}:", values[-1])

figure = new_figure(6, 2.4)
axes = figure.subplots()
heatmap(axes, np.array(values), rows=["at first", "^ 4", "^ 2", "^ 1"],
        columns=[str(lane) for lane in lanes])
for row, numbers in enumerate(values):
    for lane, number in enumerate(numbers):
        axes.text(lane, row, f"{number:.0f}", ha="center", va="center", fontsize=9,
                  color="white" if number > 16 else INK)
axes.set_xlabel("lane")
picture(figure, "Eight lanes in four rows. In each step numbers are added in pairs at distance 4, "
                "2 and 1; in the last row every lane holds 31, the sum.")

# %% [markdown]
# ### Exercise 3
# Write it for a warp of 32. All lanes act at once, so work on the whole array: `values` $[32]$ in, an array of 32
# times the sum out.


# %% warp_sum tags=["exercise"]
def warp_sum(values):
    """values [32] -> [32], the sum in every lane, in five steps"""
    ...


# %%
check("warp_sum", warp_sum)

# %% [markdown]
# Now a whole layer norm as a block does it. Read the package's kernel first. `reduce` is the sum of above, over
# warps and then over the block:

# %%
print(kernel_source("layer_norm"))

# %% [markdown]
# And the same with our own hands, phase by phase. `reduce` is a place where all threads of a block meet, so the
# loop over threads ends there and begins again. (For short we leave out the residual.)


# %%
def layer_norm_block(row, threads, x, weight, bias, eps, y):
    """What one block does: a row of x."""
    columns = x.shape[1]
    mine = [range(thread, columns, threads) for thread in range(threads)]

    sums = [sum(x[row, j] for j in columns_of) for columns_of in mine]      # each its own
    mean = sum(sums) / columns                                              # reduce: they meet
    squares = [sum((x[row, j] - mean)**2 for j in columns_of) for columns_of in mine]
    scale = 1 / math.sqrt(sum(squares) / columns + eps)                     # they meet again
    for columns_of in mine:
        for j in columns_of:
            y[row, j] = weight[j] * (x[row, j] - mean) * scale + bias[j]


x = rng.standard_normal((6, 50))
weight, bias = rng.uniform(0.5, 1.5, 50), rng.standard_normal(50)
y = np.full_like(x, np.nan)
for row in range(len(x)):                               # blocks, in any order
    layer_norm_block(row, 8, x, weight, bias, 1e-12, y)
expected, _ = F.layer_norm(x, weight, bias, 1e-12)
print(f"largest difference from F.layer_norm: {np.abs(y - expected).max():.1e}")

# %% [markdown]
# ## What fusing buys
#
# Count what the *textbook* layer norm does with memory. NumPy (and CuPy) run one operation at a time, and each
# reads whole arrays and writes whole arrays:

# %%
print(inspect.getsource(inspect.unwrap(F.layer_norm)))
steps = [("x.mean", 1, 0), ("x - mean", 1, 1), ("centred * centred", 1, 1), (".mean", 1, 0),
         ("centred * inv_std", 1, 1), ("weight * x_hat", 1, 1), ("+ bias", 1, 1)]
reads, writes = (sum(step[i] for step in steps) for i in (1, 2))
print(f"textbook: {reads} reads and {writes} writes of an array [..., H]")
print("fused:    1 read and 2 writes, y and x_hat")

# %% [markdown]
# (Arrays without an $H$ are too small to count. The kernel reads `x` three times too, but the second and third time
# the row is still in the cache, close by.) A kernel that does a chain of operations while the numbers are at hand
# is called **fused**. Twelve trips to memory become three. How much is that on *this* machine, with the package's
# CPU twin?

# %%
def seconds(action, budget=0.5):
    """The shortest time that it took, of as many as fit into half a second and at least three."""
    times = []
    while len(times) < 3 or sum(times) < budget:
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times)


ROWS, H = 16384, 1024                                   # too large for a core's own caches
x = rng.standard_normal((ROWS, H), dtype=np.float32)
weight, bias = np.ones(H, np.float32), np.zeros(H, np.float32)
F.layer_norm(x[:8], weight, bias, 1e-12)                # compiles, if there is what to compile
with textbook():
    plain = seconds(lambda: F.layer_norm(x, weight, bias, 1e-12))
fused = seconds(lambda: F.layer_norm(x, weight, bias, 1e-12))
print(f"layer norm of {x.nbytes / 1e6:.0f} MB: textbook {1000 * plain:.0f} ms, "
      f"twin {1000 * fused:.0f} ms, {plain / fused:.1f} times as fast")

# %% [markdown]
# (The twin also uses all cores. That is part of it.)
#
# ## The roof
#
# A machine has two limits: so many operations per second, and so many bytes per second. Which one counts depends on
# the work's **intensity**: how many operations it does for each byte that it moves. At intensity $I$, with
# bandwidth $\beta$ and peak $\pi$, it can reach at most
#
# $$\text{operations per second} \le \min(\pi,\; \beta I).$$
#
# Measure both, here and now: bandwidth by copying a large array and by only reading it (times a vector), whichever is
# faster; peak with a large matrix product.

# %%
target = np.empty_like(x)
copied = seconds(lambda: for_blocks(len(x), H * 4, lambda s: np.copyto(target[s], x[s])))
square = rng.standard_normal((1536, 1536), dtype=np.float32)
multiplied = seconds(lambda: square @ square)
read = seconds(lambda: x @ weight)
bandwidth = max(2 * x.nbytes / copied, x.nbytes / read)                 # a copy reads and writes
peak = 2 * 1536**3 / multiplied
print(f"copying {2 * x.nbytes / copied / 1e9:.1f} GB/s, reading {x.nbytes / read / 1e9:.1f} GB/s")
print(f"bandwidth {bandwidth / 1e9:.1f} GB/s, peak {peak / 1e9:.0f} GFLOP/s in float32")
print(f"so below {peak / bandwidth:.1f} operations per byte, memory decides")

# %% [markdown]
# ### Exercise 4
# A linear map without its bias, $[R, I]$ times $[I, O]$, in float32. It has $2RIO$ operations: a multiplication and
# an addition for each triple. It has to read its input and its weight and write its output, each once at least.
# What is its intensity, in operations per byte?


# %% intensity tags=["exercise"]
def intensity(tokens, inputs, outputs):
    """R, I, O -> operations per byte"""
    ...


# %%
check("intensity", intensity)

# %% [markdown]
# Now put real work under the roof: ALBERT base's widening map, 768 to 3,072, for 1, 16, 128 and 2,048 tokens at
# once; adding a bias (one operation, eight bytes); and the layer norm of above, textbook and twin, seven operations
# for each element (mean, minus, square, sum, scale, gain, shift) and twelve bytes at least. The weights are twelve
# different ones in turn, as in a BERT, so that each has to come from far away. (Other programs on your machine blur
# these numbers. Run the cells again.)

# %%
layers = rng.standard_normal((12, 768, 3072), dtype=np.float32)
points = []


def one_after_the_other(a, weights):
    for W in weights:
        np.matmul(a, W)



for tokens in (1, 16, 128, 2048):
    a = rng.standard_normal((tokens, 768), dtype=np.float32)
    operations, moved = 2 * tokens * 768 * 3072, 4 * (tokens * 768 + 768 * 3072 + tokens * 3072)
    spent = seconds(lambda a=a: one_after_the_other(a, layers)) / 12
    points.append((f"{tokens} x 768 x 3072", operations / moved, operations / spent, ORANGE))
added = seconds(lambda: for_blocks(len(x), H * 4, lambda s: np.add(x[s], bias, out=target[s])))
points.append(("add a bias", 1 / 8, x.size / added, GREEN))
for name, spent in (("layer norm, textbook", plain), ("layer norm, twin", fused)):
    points.append((name, 7 / 12, 7 * x.size / spent, BLUE))
for name, at, rate, _ in points:
    share = rate / min(peak, bandwidth * at)
    print(f"{name:22} {at:7.2f} operations per byte, {rate / 1e9:7.1f} GFLOP/s, "
          f"{share:4.0%} of the roof above it")

# %%
figure = new_figure(7, 4)
axes = figure.subplots()
scale = np.logspace(-1.3, 3.2, 100)
axes.loglog(scale, np.minimum(peak, bandwidth * scale) / 1e9, color=INK, linewidth=1.5)
for name, at, rate, colour in points:
    axes.loglog(at, rate / 1e9, "o", color=colour)
    axes.annotate(name, (at, rate / 1e9), xytext=(7, -4), textcoords="offset points", fontsize=8)
corner = peak / bandwidth
axes.axvline(corner, color=MUTED, linewidth=0.6)
axes.text(corner * 0.85, peak * 1.15 / 1e9, "bytes decide", color=MUTED, fontsize=8, ha="right")
axes.text(corner * 1.15, peak * 1.15 / 1e9, "operations decide", color=MUTED, fontsize=8)
axes.set_xlabel("intensity, operations per byte")
axes.set_ylabel("GFLOP/s")
axes.spines[["top", "right"]].set_visible(False)
picture(figure, "The roofline of this machine on logarithmic axes: a slope at the left, where "
                "memory decides, a flat roof at the right. Adding a bias and layer norms lie under "
                "the slope; matrix products climb to the roof as more tokens are taken at once.")

# %% [markdown]
# Two lessons. They hold on a GPU all the more: with tensor cores its corner of the roof lies much further to the
# right.
#
# * **What lies between the matrix products has few operations for each byte.** The bias and the norm stand under the
#   slope, and on a GPU so do GELU and softmax. To speed them up, move fewer bytes. That is what the kernels are for,
#   and why the GPU's GELU computes $\Phi$ *again* in the backward pass instead of keeping it.
# * **A matrix product for one token is limited by memory too**: it reads the whole weight for a single row. With
#   many tokens the same weight serves them all. Therefore batches.
#
# And ALBERT? Its twelve layers are one, so the weight may still be in a cache when it is needed again, if the cache
# is large enough. That helps where bytes decide. Where operations decide, and in training they do, there are as many
# as before:

# %%
def in_turns(first, second, rounds=8):
    """The shortest time of each; in turns, so that what slows the machine down slows both down."""
    times = [(seconds(first, 0), seconds(second, 0)) for _ in range(rounds)]
    return (min(column) for column in zip(*times, strict=True))


for tokens in (1, 256):
    a = rng.standard_normal((tokens, 768), dtype=np.float32)
    different, shared = in_turns(lambda a=a: one_after_the_other(a, layers),
                                 lambda a=a: one_after_the_other(a, [layers[0]] * 12))
    print(f"{tokens:3} tokens: twelve weights {1000 * different:6.1f} ms, "
          f"one weight twelve times {1000 * shared:6.1f} ms: "
          f"{different / shared:.1f} times as fast")

# %% [markdown]
# ## Half the bytes: bfloat16
#
# If bytes decide, make numbers shorter. A float32 has 1 bit for the sign, 8 for the exponent, 23 for the digits
# behind the leading 1. A **bfloat16** is simply its leading half: 1, 8 and 7. A *view* looks at the same memory as
# integers and shows it:


# %%
def bits(x):
    text = f"{np.float32(x).view(np.uint32):032b}"
    return f"{text[0]} {text[1:9]} {text[9:16]}|{text[16:]}"


for value in (1.0, 2.0, -0.5, math.pi, 0.1):
    print(f"{value:<18g} {bits(value)}")
print(" " * 18, "sign exponent, digits: a bfloat16 ends at the bar")

# %% [markdown]
# Behind $\pi$'s bar comes a 0 first: the rest is less than half of the last kept digit and is dropped. Behind that
# of 0.1 comes a 1 and more: the nearest bfloat16 is the next one *up*. Exactly in the middle between two, one takes
# the one that ends in 0, so that errors do not lean to one side ("ties to even"). The package's kernel does all
# that in one line of integer additions:

# %%
print(kernel_source("to_bfloat16"))

# %% [markdown]
# Read it slowly. Adding `0x7fff`, just less than half of the last kept bit's worth, carries over exactly if the
# rest is *more* than half. With the last kept bit itself added, a rest of *exactly* half carries over only if that
# bit was 1, so it becomes 0. (The last line keeps "not a number" what it is.)
#
# ### Exercise 5
# Round float32 to bfloat16, and return the result as float32: its lower 16 bits are 0. Use `x.view(np.uint32)`,
# integer arithmetic (keep it in `np.uint32`), and a view back. There are no NaNs.


# %% to_bfloat16 tags=["exercise"]
def to_bfloat16(x):
    """x float32 -> float32 of the same shape, rounded"""
    ...


# %%
check("to_bfloat16", to_bfloat16)


# %%
def rounded(x):
    """Our own, for what follows."""
    whole = np.ascontiguousarray(x, np.float32).view(np.uint32)
    odd = (whole >> np.uint32(16)) & np.uint32(1)
    return ((whole + np.uint32(0x7fff) + odd) & np.uint32(0xffff0000)).view(np.float32)


print(f"pi as bfloat16: {rounded(math.pi).item()}, {bits(rounded(math.pi).item())}")
print("neighbours of 1:", rounded(np.float32([1 - 2**-8, 1, 1 + 2**-7])))

# %% [markdown]
# Two to three decimal digits. The other 16-bit format, float16, has 10 bits of digits and only 5 of exponent:
# finer, but only within a narrow range. Gradients are often small. Look at both over thirty orders of magnitude:

# %%
magnitudes = np.logspace(-15, 15, 1500).astype(np.float32)
with np.errstate(over="ignore"):
    as_half = magnitudes.astype(np.float16).astype(np.float32)
relative = {"bfloat16": np.abs(rounded(magnitudes) / magnitudes - 1),
            "float16": np.minimum(np.abs(as_half / magnitudes - 1), 1)}
windows = {name: error.reshape(50, 30).max(1) for name, error in relative.items()}
for name, worst in windows.items():                     # the worst of 30 neighbouring numbers
    fine = magnitudes.reshape(50, 30)[worst < 0.01]
    print(f"{name:9} better than 1 % from {fine.min():.0e} to {fine.max():.0e}")

figure = new_figure(6.5, 2.8)
axes = figure.subplots()
for (name, worst), colour in zip(windows.items(), (BLUE, ORANGE), strict=True):
    axes.loglog(magnitudes.reshape(50, 30)[:, 15], worst, color=colour, label=name)
axes.set_xlabel("size of the number")
axes.set_ylabel("largest relative error")
axes.legend(frameon=False)
axes.spines[["top", "right"]].set_visible(False)
picture(figure, "Relative rounding error against size. bfloat16 is a flat line near 0.4 % "
                "everywhere. float16 is a line ten times lower between 1e-4 and 3e4, and goes up "
                "to 100 % outside.")

# %% [markdown]
# ### Exercise 6
# Begin with 0 and add 1 again and again, rounding the sum to bfloat16 each time. At some number it does not get any
# further. At which?

# %% counting_stops tags=["exercise"]
counting_stops = ...

# %%
check("counting_stops", counting_stops)

# %% [markdown]
# So sums must not be kept in bfloat16. A dot product of 3,072 numbers, three ways:

# %%
a, b = rng.uniform(0, 1, (2, 3072)).astype(np.float32)
exact = float(a.astype(np.float64) @ b)
in_bfloat16 = np.float32(0)
for product in rounded(rounded(a) * rounded(b)):
    in_bfloat16 = rounded(in_bfloat16 + product).reshape(())
ways = {"float32": a @ b, "factors in bfloat16, sum in float32": rounded(a) @ rounded(b),
        "all in bfloat16": in_bfloat16}
for name, value in ways.items():
    print(f"{name:36} {float(value):9.3f}, off by {abs(float(value) / exact - 1):.2%}")

# %% [markdown]
# Rounding the *factors* costs next to nothing, since errors of both signs cancel. Rounding the *sum* ruins it. This is
# what tensor cores offer, factors in 16 bits and sums in 32, and the only place where the package uses bfloat16.
#
# ## What the package does differently, and why
#
# * **Precision is a switch for matrix products only** (`--precision float32`, `tf32`, `bfloat16`). Weights,
#   gradients, norms, softmax, losses and the optimizer stay float32, so nothing overflows and no loss has to be
#   scaled.
# * **The same bits every time.** Its kernels use no atomic additions, whose order changes from run to run. Every
#   sum has one order.
# * **Dropout without masks.** Number $i$ of a random stream is a hash of $i$ and a seed. A backward pass computes
#   it again, which is cheaper than reading it.
# * **The kernels are tested without a GPU.** The tests compile the same source with an ordinary C++ compiler, run
#   blocks and threads as we did above, and in several orders: if one order gives other bits, a barrier is missing.
# * What it leaves out: attention that never writes its $T \times T$ scores (Dao et al. 2022), the next thing to
#   fuse, by the argument of this notebook.

# %%
names = re.findall(r"^KERNEL (\w+)", SOURCE, re.MULTILINE)
print(len(names), "kernels in", len(SOURCE.splitlines()), "lines:", ", ".join(names))

# %% [markdown]
# This is the last notebook. You have derived, coded and checked every gradient of an ALBERT, and know what each
# costs. Now train one, on a text of your own.
