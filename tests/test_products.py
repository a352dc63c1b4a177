"""Products on the matrix unit: float32's accuracy against float64, every digit of a number, special
values as NumPy has them, and the same bits however many threads work."""

from __future__ import annotations

import functools
import importlib.util
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyalbert import AlbertConfig, AlbertModel
from tinyalbert.fast import parallel, same_weights

try:
    from tinyalbert.fast import amx
except (ImportError, RuntimeError) as error:
    pytest.skip(f"no products to test: {error}", allow_module_level=True)

LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "plain": lambda x: x,
    "transposed": np.asfortranarray,
    "every other row": lambda x: np.repeat(x, 2, axis=0)[::2],
    "every other column, backwards": lambda x: np.repeat(x, 2, axis=1)[:, ::-2][:, ::-1],
    "broadcast": lambda x: np.broadcast_to(x[:1], x.shape),
    "read-only": lambda x: (x.setflags(write=False), x)[1],
}
seeds = st.integers(0, 2**32 - 1)
sizes = st.sampled_from((1, 2, 15, 16, 17, 31, 32, 33, 64, 97, 130, 200))


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Matrices of every size go to the unit."""
    monkeypatch.setattr(amx, "worth_it", lambda a, b, ready: a.shape[1] > 0)
    yield


def use_threads(patch: pytest.MonkeyPatch, threads: int) -> None:
    patch.setattr(parallel, "INLINE_BYTES", 0)
    patch.setattr(parallel, "num_threads", lambda: threads)
    patch.setattr(amx, "num_threads", lambda: threads)
    patch.setattr(parallel, "_pool", functools.cache(lambda: ThreadPoolExecutor(threads)))


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def assert_accurate(product: np.ndarray, a: np.ndarray, b: np.ndarray) -> None:
    """Within float32's roundings, that wander off as the root of their number, of the sum of the
    products' sizes. Without the low parts the first would be 64 times larger."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    bound = (2 + np.sqrt(a.shape[1])) * 2.0**-24 * (abs(a) @ abs(b)) + 2.0**-120
    assert product.dtype == np.float32
    assert (abs(product - a @ b) <= bound).all()


@settings(deadline=None, max_examples=60)
@given(rows=sizes, depth=sizes | st.sampled_from((1023, 1025, 2100)), columns=sizes, seed=seeds,
       a_layout=st.sampled_from(sorted(LAYOUTS)), b_layout=st.sampled_from(sorted(LAYOUTS)),
       positive=st.booleans())
def test_as_accurate_as_float32(rows: int, depth: int, columns: int, seed: int, a_layout: str,
                                b_layout: str, positive: bool) -> None:
    a, b = normal(seed, rows, depth), normal(seed + 1, depth, columns)
    a, b = LAYOUTS[a_layout](abs(a) if positive else a), LAYOUTS[b_layout](b)
    assert_accurate(amx.matmul(a, b), a, b)
    assert_accurate(amx.matmul(a, amx.packed(b)), a, b)


@pytest.mark.parametrize(("rows", "depth", "columns"), [(256, 768, 512), (128, 3072, 256)])
def test_on_the_whole_no_less_accurate_than_numpy(rows: int, depth: int, columns: int) -> None:
    a, b = normal(0, rows, depth), normal(1, depth, columns)
    exact = a.astype(np.float64) @ b.astype(np.float64)
    ours, numpys = amx.matmul(a, b) - exact, np.matmul(a, b) - exact
    assert np.sqrt((ours**2).mean()) <= 1.1 * np.sqrt((numpys**2).mean())
    assert abs(ours).max() <= 1.5 * abs(numpys).max()


@settings(deadline=None)
@given(st.lists(st.floats(width=32, min_value=2.0**-40, max_value=2.0**40), min_size=1,
                max_size=40), st.booleans())
def test_every_digit_of_a_number_arrives(numbers: list[float], negative: bool) -> None:
    x = np.array([numbers + [1.0]], np.float32) * (-1 if negative else 1)
    ones = np.eye(x.shape[1], dtype=np.float32)
    assert np.array_equal(amx.matmul(x, ones), x)
    assert np.array_equal(amx.matmul(ones, x.T), x.T)


def test_whole_numbers_are_exact() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(-4000, 4000, (70, 300)), rng.integers(-10, 10, (300, 90))
    product = amx.matmul(a.astype(np.float32), b.astype(np.float32))
    assert np.array_equal(product, a @ b)               # below 2^24


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 3e38, -2e30])
@pytest.mark.parametrize("operand", [0, 1])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_extreme_numbers_are_left_to_numpy(value: float, operand: int) -> None:
    pair = [normal(0, 50, 40), normal(1, 40, 60)]
    pair[operand][33, 38] = value
    expected = np.matmul(*pair)
    assert np.array_equal(amx.matmul(*pair), expected, equal_nan=True)
    assert np.array_equal(amx.matmul(pair[0], amx.packed(pair[1])), expected, equal_nan=True)
    out = np.zeros_like(expected)
    assert np.array_equal(amx.matmul(*pair, out=out), expected, equal_nan=True)


def test_tiny_matrices_are_left_to_numpy() -> None:
    a, b = normal(0, 50, 40) * np.float32(1e-40), normal(1, 40, 60)       # denormal numbers
    assert np.array_equal(amx.matmul(a, b), np.matmul(a, b))
    assert np.array_equal(amx.matmul(b.T, a.T), np.matmul(b.T, a.T))


def test_tiny_numbers_among_others_do_no_harm() -> None:
    a, b = normal(0, 50, 40), normal(1, 40, 60)
    a[::3, ::2] *= np.float32(1e-40)
    b[5] *= np.float32(1e-38)
    assert_accurate(amx.matmul(a, b), a, b)


def test_zeros() -> None:
    zeros = np.zeros((40, 50), np.float32)
    assert not amx.matmul(zeros, normal(0, 50, 60)).any()
    assert not amx.matmul(normal(0, 60, 40), zeros).any()


def test_same_bits_on_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = normal(0, 700, 1100), normal(1, 1100, 300)
    expected = amx.matmul(a, b).tobytes()
    for threads in (1, 2, 3, 8):
        use_threads(monkeypatch, threads)
        assert amx.matmul(a, b).tobytes() == expected
        assert amx.matmul(a, amx.packed(b)).tobytes() == expected


@pytest.mark.parametrize("rows", [128, 256, 700])
def test_threads_share_the_work(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "num_threads", lambda: 2)
    monkeypatch.setattr(amx, "num_threads", lambda: 2)
    monkeypatch.setattr(parallel, "_pool", functools.cache(lambda: ThreadPoolExecutor(2)))
    both, product = threading.Barrier(2), amx.product

    def meeting(*args: object) -> object:
        both.wait(timeout=10)
        return product(*args)

    monkeypatch.setattr(amx, "product", meeting)
    amx.matmul(normal(0, rows, 300), normal(1, 300, 400))


def test_a_row_does_not_depend_on_the_others() -> None:
    a, b = normal(0, 300, 200), normal(1, 200, 100)
    assert np.array_equal(amx.matmul(a[37:110], b), amx.matmul(a, b)[37:110])


def test_callers_do_not_disturb_each_other() -> None:
    pairs = [(normal(i, 150, 300), normal(i + 50, 300, 200)) for i in range(8)]
    alone = [amx.matmul(*pair) for pair in pairs]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            together = pool.map(lambda pair: amx.matmul(*pair), pairs)
            assert all(map(np.array_equal, together, alone))


def test_out() -> None:
    a, b = normal(0, 50, 40), normal(1, 40, 60)
    expected = amx.matmul(a, b)
    out = np.full((50, 60), np.nan, np.float32)
    assert amx.matmul(a, b, out=out) is out
    assert np.array_equal(out, expected)
    wide = np.zeros((50, 120), np.float32)
    assert amx.matmul(a, b, out=wide[:, ::2]).base is wide              # NumPy's
    assert_accurate(wide[:, ::2], a, b)
    assert not wide[:, 1::2].any()
    square = normal(2, 64, 64)
    expected = square @ square
    assert np.array_equal(amx.matmul(square, square, out=square), expected)     # NumPy's


@pytest.mark.parametrize(("a", "b"), [
    (np.ones((3, 4)), np.ones((4, 5))),
    (np.ones((3, 4), np.float32), np.ones((4, 5))),
    (np.ones((3, 4), np.int64), np.ones((4, 5), np.int64)),
    (np.ones((3, 4), ">f4"), np.ones((4, 5), ">f4")),
    (np.ones((2, 3, 4), np.float32), np.ones((4, 5), np.float32)),
    (np.ones(4, np.float32), np.ones((4, 5), np.float32)),
    (np.ones((0, 4), np.float32), np.ones((4, 5), np.float32)),
    (np.ones((3, 0), np.float32), np.ones((0, 5), np.float32)),
])
def test_other_types_and_shapes(a: np.ndarray, b: np.ndarray) -> None:
    expected, product = np.matmul(a, b), amx.matmul(a, b)
    assert product.dtype == expected.dtype
    assert np.array_equal(product, expected)


def test_shapes_that_do_not_match() -> None:
    with pytest.raises(ValueError, match="mismatch"):
        amx.matmul(normal(0, 50, 40), normal(1, 41, 60))


def test_small_products_are_numpys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    a, b = normal(0, 50, 40), normal(1, 40, 60)
    monkeypatch.setattr(amx, "pack", None)
    assert np.array_equal(amx.matmul(a, b), np.matmul(a, b))
    with pytest.raises(TypeError):                      # this one is not
        amx.matmul(normal(0, 512, 256), normal(1, 256, 512))


def test_no_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llvmlite.binding.get_host_cpu_features", dict)
    file = Path(amx.__file__).with_name("tiles.py")
    spec = importlib.util.spec_from_file_location("tiles_without_unit", file)
    assert spec is not None and spec.loader is not None
    with pytest.raises(ImportError, match="no AMX"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_numba_disabled() -> None:
    run = subprocess.run([sys.executable, "-c", "import tinyalbert.fast.amx"], text=True,
                         env=os.environ | {"NUMBA_DISABLE_JIT": "1"}, capture_output=True)
    assert "ImportError" in run.stderr and "Numba is disabled" in run.stderr


def test_what_nobody_may_write_to_is_packed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()                          # also for what is small otherwise
    use_threads(monkeypatch, 1)                 # another would hold b a moment longer
    a, b = normal(0, 48, 256), normal(1, 256, 128)
    packings = []
    monkeypatch.setattr(amx, "packed", lambda x, pack=amx.packed: packings.append(1) or pack(x))
    expected = amx.matmul(a, b)
    assert not packings                         # it may change at any time
    b.flags.writeable = False
    for _ in range(3):
        assert_accurate(amx.matmul(a, b), a, b)
    assert len(packings) == 1 and len(amx._ready) >= 1
    np.testing.assert_allclose(amx.matmul(a, b), expected, rtol=1e-4, atol=1e-4)
    kept = len(amx._ready)
    del b
    assert len(amx._ready) == kept - 1          # as long as it lives


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(("rows", "columns"), [(700, 300), (40, 700)])
def test_a_bias_for_every_row(rows: int, columns: int, threads: int,
                              monkeypatch: pytest.MonkeyPatch) -> None:
    use_threads(monkeypatch, threads)
    a, b, bias = normal(0, rows, 200), normal(1, 200, columns), normal(2, columns)
    assert np.array_equal(amx.matmul(a, b, bias=bias), amx.matmul(a, b) + bias)
    assert np.array_equal(amx.weigh(a, b, bias), amx.matmul(a, b) + bias)
    a[0, 0] = np.inf                            # NumPy's
    assert np.array_equal(amx.matmul(a, b, bias=bias), np.matmul(a, b) + bias)


def test_weights_that_stay_the_same_are_packed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, packings = normal(0, 48, 256), normal(1, 256, 128), []
    dy = normal(2, 48, 128)
    expected, turned = amx.matmul(a, b), amx.matmul(dy, b.T)
    monkeypatch.setattr(amx, "packed", lambda x, pack=amx.packed: packings.append(1) or pack(x))
    with same_weights():
        for _ in range(4):
            assert np.array_equal(amx.weigh(a, b), expected)
            assert np.array_equal(amx.weigh(dy, b.T), turned)
    assert len(packings) == 4                   # of both, for the first time, and for good
    b *= 2
    for _ in range(2):                          # a new block knows nothing of the old
        with same_weights():
            for _ in range(3):
                assert np.array_equal(amx.weigh(a, b), 2 * expected)
    assert np.array_equal(amx.weigh(a, b), 2 * expected)


def test_blocks_are_each_threads_own() -> None:
    """One thread's weights may change while another is in a block."""
    a, b = normal(0, 48, 256), normal(1, 256, 128)

    def train(steps: int) -> None:
        weight = b.copy()
        for _ in range(steps):
            with same_weights():
                expected = amx.matmul(a, weight)
                assert all(np.array_equal(amx.weigh(a, weight), expected) for _ in range(3))
            weight *= -1

    with same_weights(), ThreadPoolExecutor(2) as pool:
        list(pool.map(train, [5, 5]))


@pytest.mark.parametrize("layers", [{}, {"num_hidden_groups": 4}])
def test_training_sees_every_change_of_a_weight(layers: dict[str, int]) -> None:
    """Four applications, one preparation, until an optimizer writes: the same bits as without."""
    config = AlbertConfig(vocab_size=40, embedding_size=128, hidden_size=128, num_hidden_layers=4,
                          num_attention_heads=2, intermediate_size=256, **layers)
    ids = np.random.default_rng(0).integers(0, 40, (2, 20))

    def gradients(keep: bool) -> list[np.ndarray]:
        model = AlbertModel(config)
        parameters = model.named_parameters()
        with pytest.MonkeyPatch.context() as patch:
            if not keep:
                patch.setattr(amx, "prepared", lambda: None)
            for _ in range(3):
                out, cache = model.forward(ids)
                model.backward(out.last_hidden_state, None, cache)
                for parameter in parameters.values():
                    parameter.data -= 0.01 * parameter.grad
        return [parameter.grad for parameter in parameters.values()]

    assert all(map(np.array_equal, gradients(keep=True), gradients(keep=False)))


def test_a_frozen_model_answers_as_before() -> None:
    config = AlbertConfig(vocab_size=40, embedding_size=128, hidden_size=128, num_hidden_layers=2,
                          num_attention_heads=2, intermediate_size=256)
    model = AlbertModel(config)
    ids = np.random.default_rng(0).integers(0, 40, (2, 20))
    before = model(ids).last_hidden_state
    model.freeze()
    np.testing.assert_allclose(model(ids).last_hidden_state, before, rtol=1e-4, atol=2e-5)
    with pytest.raises(ValueError, match="read-only"):
        model.embeddings.word_embeddings.weight.data[0] = 1
    model.load_state_dict({name: 2 * array for name, array in model.state_dict().items()})
    doubled = AlbertModel(config)
    doubled.load_state_dict(model.state_dict())
    np.testing.assert_allclose(model(ids).last_hidden_state, doubled(ids).last_hidden_state,
                               rtol=1e-4, atol=2e-5)
