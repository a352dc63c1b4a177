"""The fast twins against the textbook: the same names, arguments, results and caches, whatever the
shape and layout of the arrays, the size of the blocks and the number of threads."""

from __future__ import annotations

import functools
import inspect
import multiprocessing
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr
from tiny import assert_close, make_batch, tiny_config

from tinyalbert import AlbertForPreTraining, fast, optim
from tinyalbert import functional as F
from tinyalbert.fast import cpu, parallel

parallel_num_threads, parallel_pool = parallel.num_threads, parallel._pool
TEXTBOOK: dict[str, Any] = {
    name: function.__wrapped__ for module in (F, optim)
    for name, function in inspect.getmembers(module, inspect.isfunction)
    if hasattr(function, "__wrapped__")}
TWINS: dict[str, Any] = {
    name: function for name, function in inspect.getmembers(cpu, inspect.isfunction)
    if hasattr(F, name) or hasattr(optim, name)}
TOLERANCE = {"float32": 3e-6, "float64": 1e-14}     # relative to the largest value of an array
LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "plain": lambda x: x,
    "transposed": lambda x: np.asfortranarray(x),
    "strided": lambda x: np.repeat(x, 2, axis=0)[::2],
    "broadcast": lambda x: np.broadcast_to(x[:1], x.shape),
}


@pytest.fixture(scope="module", params=["whole", "blocks", "whole, NumPy", "blocks, NumPy"],
                autouse=True)
def blocks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Everything as it is, and in blocks of a row or two on three threads; with Numba's kernels,
    and as it is without Numba."""
    with pytest.MonkeyPatch.context() as patch:
        if "blocks" in request.param:
            use_threads(patch, 3, block_bytes=64)
        if "NumPy" in request.param:
            patch.setattr(cpu, "kernels", None)
        yield


def use_threads(patch: pytest.MonkeyPatch, threads: int, block_bytes: int) -> None:
    patch.setattr(parallel, "BLOCK_BYTES", block_bytes)
    patch.setattr(parallel, "INLINE_BYTES", 0)
    patch.setattr(parallel, "num_threads", lambda: threads)
    patch.setattr(parallel, "_pool", functools.cache(lambda: ThreadPoolExecutor(threads)))


def arguments(name: str, shape: tuple[int, ...], dtype: str, layout: str, seed: int) -> list[Any]:
    """For the operation of this name. A cache comes from the textbook's forward pass."""
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(dtype)

    def laid_out(*shape: int) -> np.ndarray:
        return LAYOUTS[layout](draw(*shape))

    width, out = shape[-1], 3
    if name == "adam_step":
        return [laid_out(*shape), np.asfortranarray(draw(*shape)), np.abs(draw(*shape)),
                0.9, 0.999, 1e-6, 0.3, 0.2]
    if name.startswith("attention"):
        batch, heads, tokens, size = (*shape, 2, 3)[:4]
        qkv = [LAYOUTS[layout](draw(batch, tokens, heads, size)).swapaxes(1, 2) for _ in range(3)]
        bias = np.where(rng.random((batch, 1, 1, tokens)) < 0.3, -10000, 0).astype(dtype)
        forward = [*qkv, bias, 0.4, np.random.default_rng(seed) if seed % 2 else None]
        dy = laid_out(batch, heads, tokens, size)
    elif name.startswith("cross_entropy"):
        rows = int(np.prod(shape[:-1]))
        forward = [laid_out(rows, width), rng.integers(0, width, rows)]
        forward[1][::3] = F.IGNORED
    elif name == "add_norm":
        forward = [laid_out(*shape), draw(*shape), draw(width), draw(width), 1e-12]
    elif name.startswith("layer_norm"):
        forward = [laid_out(*shape), draw(width), draw(width), 1e-12]
        dy = laid_out(*shape)
    elif name.startswith("linear"):
        forward, dy = [laid_out(*shape), draw(out, width).T, draw(out)], laid_out(*shape[:-1], out)
    else:
        forward, dy = [laid_out(*shape)], laid_out(*shape)
    if not name.endswith("_backward"):
        return forward
    if name == "linear_backward":
        return [dy, *forward[:2]]
    return [dy, TEXTBOOK[name.removesuffix("_backward")](*forward)[1]]


def arrays(result: Any) -> list[Any]:
    """The arrays in a result, however nested; None counts as one."""
    if isinstance(result, tuple):
        return [array for part in result for array in arrays(part)]
    return [result]


def copied(values: list[Any]) -> list[Any]:
    """So that nobody is given what another has changed: moments, and a generator's state."""
    rebuild = {np.ndarray: np.copy, np.random.Generator: lambda _: np.random.default_rng(7)}
    return [rebuild.get(type(value), lambda same: same)(value) for value in values]


def test_every_twin_is_marked_and_has_the_same_arguments() -> None:
    assert set(TEXTBOOK) - set(TWINS) == {"dropout", "dropout_backward"}    # those of a GPU only
    assert set(TWINS) == {
        "linear", "linear_backward", "gelu", "gelu_backward", "gelu_new", "gelu_new_backward",
        "layer_norm", "layer_norm_backward", "add_norm", "attention", "attention_backward",
        "cross_entropy", "adam_step"}
    for name, twin in TWINS.items():
        ours, theirs = (inspect.signature(f).parameters for f in (twin, TEXTBOOK[name]))
        assert [(p.name, p.default) for p in ours.values()] == \
            [(p.name, p.default) for p in theirs.values()], name


def test_a_training_step_reaches_every_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    reached = set()

    def watch(name: str, twin: Any) -> Any:
        def watched(*args: Any) -> Any:
            reached.add(name)
            return twin(*args)
        return watched

    for name, twin in TWINS.items():
        monkeypatch.setattr(cpu, name, watch(name, twin))
    for hidden_act in ("gelu", "gelu_new"):
        model = AlbertForPreTraining(tiny_config(hidden_act=hidden_act))
        batch = make_batch(model.config)
        with fast.textbook():
            model.forward(**batch)
        assert f"{hidden_act}_backward" not in reached
        _, cache = model.forward(**batch)
        model.backward(cache)
    optim.AdamW(model.named_parameters()).step(1e-3)
    assert reached == set(TWINS)


def test_the_normal_distribution_to_the_last_bits_of_a_float32() -> None:
    """Against SciPy in float64, over all that a float32 can tell apart from 0 and 1, and beyond."""
    x = np.concatenate([np.linspace(-14, 14, 200_001), [-1e5, 1e5, 1e-30]]).astype(np.float32)
    y, (_, cdf) = cpu.gelu(x[:, None])
    expected = ndtr(x.astype(np.float64))
    assert abs(cdf[:, 0] - expected).max() < 1.2e-7         # the distance from 1 to the next float
    assert abs(y[:, 0] - x * expected).max() < 1.2e-7 * abs(x).max()
    assert abs(y[:, 0] - x * expected)[abs(x) < 14].max() < 8e-7


@pytest.mark.parametrize("name", sorted(TWINS))
@settings(max_examples=60, deadline=None, derandomize=True)
@given(shape=st.lists(st.integers(1, 7), min_size=2, max_size=4).map(tuple),
       dtype=st.sampled_from(sorted(TOLERANCE)), layout=st.sampled_from(sorted(LAYOUTS)),
       seed=st.integers(0, 99))
def test_a_twin_computes_what_the_textbook_does(name, shape, dtype, layout, seed) -> None:
    given = arguments(name, shape, dtype, layout, seed)
    ours, theirs = copied(given), copied(given)
    got, expected = TWINS[name](*ours), TEXTBOOK[name](*theirs)
    if name == "adam_step":
        got, expected = (got, *ours[1:3]), (expected, *theirs[1:3])     # the moments in place
    got, expected = arrays(got), arrays(expected)
    assert len(got) == len(expected)
    for i, (a, b) in enumerate(zip(got, expected, strict=True)):
        if b is None:
            assert a is None
        else:
            assert a.dtype == b.dtype
            scale = max(float(np.abs(b).max()), 1)
            if name == "layer_norm_backward":           # what is rounded is then divided by σ
                scale *= max(float(given[1].inv_std.max()), 1)
            assert_close(a, b, TOLERANCE[dtype], f"{name}[{i}]", scale)


@pytest.mark.parametrize("forward", sorted(set(TWINS) & {n.removesuffix("_backward")
                                                        for n in TEXTBOOK if "_b" in n}
                                           - {"linear"}))   # whose backward reads the inputs
def test_either_backward_reads_either_cache(forward: str) -> None:
    backward = f"{forward}_backward"
    given = arguments(forward, (2, 3, 4, 5), "float64", "plain", 1)
    dy = arguments(backward, (2, 3, 4, 5), "float64", "plain", 1)[0]
    results = [arrays(second(dy, first(*copied(given))[1]))
               for first in (TWINS[forward], TEXTBOOK[forward])
               for second in (TWINS[backward], TEXTBOOK[backward])]
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert_close(a, b, 1e-14)


@pytest.mark.parametrize("name", sorted(TWINS))
@pytest.mark.parametrize("dtype", sorted(TOLERANCE))
def test_blocks_and_threads_change_no_bit(name: str, dtype: str) -> None:
    given = arguments(name, (13, 2, 5, 9), dtype, "plain", 1)
    results = []
    for threads, block_bytes in ((1, 1 << 20), (1, 1), (2, 300), (5, 1000)):
        with pytest.MonkeyPatch.context() as patch:
            use_threads(patch, threads, block_bytes)
            ours = copied(given)
            results.append(arrays((TWINS[name](*ours), *ours[:3])))     # of Adam: m and v too
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_what_is_no_number_stays_none(poison: float) -> None:
    """A training that has gone wrong must be seen to have."""
    for name in ("gelu", "gelu_new", "layer_norm", "attention"):
        given = arguments(name, (2, 2, 3, 8), "float32", "plain", 2)
        given[0][0, 0, 1, 3] = poison if name == "layer_norm" else np.nan
        with np.errstate(invalid="ignore"):
            assert np.isnan(TWINS[name](*given)[0]).any(), name
    x = np.array([[-1e10, -200, -88, 0, 88, 200, 1e10]], np.float32)
    for name in ("gelu", "gelu_new"):
        y, cache = TWINS[name](x)
        assert_close(y, np.maximum(x, 0), 1e-6)
        assert_close(TWINS[f"{name}_backward"](np.ones_like(x), cache),
                     np.array([[0, 0, 0, 0.5, 1, 1, 1]]), 1e-6)


def test_a_masked_key_has_no_share() -> None:
    given = arguments("attention", (2, 2, 3, 8), "float32", "plain", 2)     # seed 2: no dropout
    given[3][...] = [0, -10000, 0]
    probs = cpu.attention(*given)[1].probs
    assert not probs[..., 1].any()
    assert_close(probs.sum(-1), np.ones((2, 2, 3)), 1e-6)


def test_no_predictions_at_all() -> None:
    """A batch without a masked word: [0, V] logits."""
    logits = np.empty((0, 5), np.float32)
    loss, cache = F.cross_entropy(logits, np.empty(0, int))
    assert loss == 0 and F.cross_entropy_backward(1.0, cache).shape == (0, 5)
    dx, dw, db = F.linear_backward(logits, np.empty((0, 3), np.float32), np.ones((3, 5), "f"))
    assert dx.shape == (0, 3) and not dw.any() and not db.any()


def test_textbook_ends_where_its_block_ends() -> None:
    x = np.ones((2, 3), np.float32)
    before = F.gelu_new(x)[1][1]
    with pytest.raises(ZeroDivisionError), fast.textbook(), fast.textbook():
        assert fast._textbook_only
        raise ZeroDivisionError
    assert not fast._textbook_only
    np.testing.assert_array_equal(F.gelu_new(x)[1][1], before)


# --- for_blocks ---------------------------------------------------------------------------------


@given(rows=st.integers(0, 50), row_bytes=st.integers(0, 40), threads=st.integers(1, 6),
       block_bytes=st.integers(1, 100))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_every_row_is_visited_once(rows, row_bytes, threads, block_bytes) -> None:
    visits = np.zeros(rows, int)

    def work(s: slice) -> None:
        assert s.stop - s.start <= max(1, block_bytes // max(row_bytes, 1))
        visits[s] += 1

    with pytest.MonkeyPatch.context() as patch:
        use_threads(patch, threads, block_bytes)
        parallel.for_blocks(rows, row_bytes, work)
        parallel._pool().shutdown()
    assert (visits == 1).all()


def test_the_work_is_divided_among_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    use_threads(monkeypatch, 3, block_bytes=1)
    meeting = threading.Barrier(3, timeout=10)              # passed only if all three are there
    parallel.for_blocks(3, 1, lambda s: meeting.wait())


def test_small_work_stays_in_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    use_threads(monkeypatch, 3, block_bytes=1)
    monkeypatch.setattr(parallel, "INLINE_BYTES", 30)
    threads = set()
    parallel.for_blocks(30, 1, lambda s: threads.add(threading.current_thread()))
    assert threads == {threading.current_thread()}


def test_an_error_in_another_thread_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    use_threads(monkeypatch, 2, block_bytes=1)
    meeting = threading.Barrier(2, timeout=10)

    def work(s: slice) -> None:
        meeting.wait()
        if threading.current_thread() is not threading.main_thread():
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        parallel.for_blocks(2, 1, work)
    parallel.for_blocks(2, 1, lambda s: meeting.wait())     # and the pool goes on


def test_blocks_inside_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three levels deep on two threads: all of them wait for parts that nobody has begun."""
    use_threads(monkeypatch, 2, block_bytes=1)
    visits = np.zeros((4, 4, 4), int)

    def visit(*at: slice) -> None:
        if len(at) == 3:
            visits[at] += 1
        else:
            parallel.for_blocks(4, 1, lambda s: visit(*at, s))

    visit()
    assert (visits == 1).all()


def child(results: Any) -> None:
    visits = np.zeros(8, int)

    def work(s: slice) -> None:
        visits[s] += 1

    parallel.for_blocks(8, 1, work)
    results.put(visits.tolist())


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_does_not_wait_for_threads_it_did_not_inherit(monkeypatch) -> None:
    use_threads(monkeypatch, 3, block_bytes=1)
    monkeypatch.setattr(parallel, "_pool", parallel_pool)
    parallel.for_blocks(8, 1, lambda s: None)               # now the pool has threads
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    process = context.Process(target=child, args=(results,), daemon=True)
    process.start()
    process.join(10)
    assert process.exitcode == 0
    assert results.get() == [1] * 8
    parallel_pool.cache_clear()


# --- the limit on BLAS --------------------------------------------------------------------------


def blas_threads() -> set[int]:
    return {info["num_threads"] for info in parallel._blas().info()}


def test_blas_has_its_threads_back_after_an_error() -> None:
    with parallel._blas().limit(limits=2):
        before = blas_threads()
        with pytest.raises(ZeroDivisionError), parallel.one_blas_thread():
            assert blas_threads() == {1}
            raise ZeroDivisionError
        assert blas_threads() == before == {2}


def test_the_limit_is_not_mistaken_for_the_number_of_cores(monkeypatch) -> None:
    """num_threads() is asked once; the first to ask may be attention, which limits BLAS."""
    count = functools.cache(inspect.unwrap(parallel_num_threads))
    monkeypatch.setattr(parallel, "num_threads", count)
    with parallel._blas().limit(limits=2), parallel.one_blas_thread():
        assert count() == 2
    with parallel.one_blas_thread():
        assert count() == 2




@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=40), st.data())
def test_the_maximum_by_whole_numbers(numbers: list[float], data: st.DataObject) -> None:
    """Compiled, and of any numbers: both zeros, infinities, the smallest there are."""
    kernels = pytest.importorskip("tinyalbert.fast.kernels", exc_type=ImportError)
    x = np.array(data.draw(st.permutations([*numbers, -0.0, 1e-45])), np.float32)
    assert kernels.maximum(x) == x.max()


@pytest.mark.parametrize("nan", [np.nan, -np.nan])
def test_a_score_that_is_no_number_leaves_none(nan: float) -> None:
    """A nan with a minus sign is the least of all by its bits."""
    kernels = pytest.importorskip("tinyalbert.fast.kernels", exc_type=ImportError)
    scores = np.ones((2, 20), np.float32)
    scores[1, 3] = nan
    kernels.softmax(scores, np.float32(1), np.zeros((1, 1, 20), np.float32))
    assert np.isnan(scores[1]).all() and not np.isnan(scores[0]).any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_adams_step_of_arrays_that_lie_otherwise(dtype: Any) -> None:
    """Moments are written in place, also where they are no rows in memory."""
    shape, numbers = (40, 30), (0.9, 0.999, 1e-6, 0.1, 0.001)
    rng = np.random.default_rng(0)
    ours = [np.asfortranarray(rng.random(shape).astype(dtype)) for _ in range(3)]
    theirs = [x.copy() for x in ours]
    assert_close(cpu.adam_step(*ours, *numbers), TEXTBOOK["adam_step"](*theirs, *numbers), 1e-6)
    for mine, other in zip(ours[1:], theirs[1:], strict=True):
        assert_close(mine, other, 1e-6)
