"""The page in a real browser, against what Python says: candidates, attention, keys, colours.

Needed are Chromium or Chrome, Playwright, and the npm packages of tinyalbert/export/npm.py: in the
folder that TINYALBERT_TEST_NODE_MODULES names, or in the cache of `tinyalbert export web`. Without
them the tests are skipped, but not where that variable is set. They use no network. Pictures to
look at go to the folder TINYALBERT_TEST_SCREENSHOTS, if that is set.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nonsense import SYLLABLES, sentences
from tiny import randomize

from tinyalbert import (
    AlbertConfig,
    AlbertForSequenceClassification,
    BertConfig,
    BertForMaskedLM,
    pipeline,
)
from tinyalbert.errors import InputError
from tinyalbert.export import npm, web
from tinyalbert.export.serve import make_server
from tinyalbert.export.session import OnnxModel
from tinyalbert.export.web import export_web
from tinyalbert.fill_mask import fill_mask
from tinyalbert.functional import softmax
from tinyalbert.pipelines.loading import load
from tinyalbert.tokenization import load_tokenizer
from tinyalbert.tokenization.bert import BertTokenizer
from tinyalbert.tokenization.training import train_tokenizer

NODE_MODULES = os.environ.get("TINYALBERT_TEST_NODE_MODULES")
SCREENSHOTS = os.environ.get("TINYALBERT_TEST_SCREENSHOTS")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2,
         "intermediate_size": 64, "max_position_embeddings": 32}
Open = Callable[..., Any]


# ---- models and their sites


def bert(folder: Path) -> Path:
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *SYLLABLES,
              *(f"##{syllable}" for syllable in SYLLABLES)]
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n")
    BertTokenizer.from_pretrained(folder).save_pretrained(folder)
    randomize(BertForMaskedLM(BertConfig(vocab_size=26, **SIZES))).save_pretrained(folder)
    return folder


def classifier(folder: Path) -> Path:
    train_tokenizer(sentences(), folder, vocab_size=60)
    config = AlbertConfig(vocab_size=60, embedding_size=16, **SIZES,
                          id2label={0: "low", 1: "middle", 2: "high"})
    randomize(AlbertForSequenceClassification(config)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def models(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {"albert": finished, "bert": bert(folder / "bert"),
            "classifier": classifier(folder / "classifier")}


@pytest.fixture(scope="module")
def sites(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("NPM_CONFIG_REGISTRY", "no network, only the cache")
            folder = tmp_path_factory.mktemp("sites")
            write = partial(export_web, node_modules=Path(NODE_MODULES) if NODE_MODULES else None)
            found = {name: write(model, folder / name) for name, model in models.items()}
            patch.setattr(web, "FLOAT32", 0)
            return {**found, "8 bits": write(models["albert"], folder / "8 bits")}
    except InputError as error:
        if NODE_MODULES or "cannot fetch" not in str(error):
            raise
        pytest.skip("needs the npm packages: set TINYALBERT_TEST_NODE_MODULES to the node_modules "
                    f"folder after {npm.INSTALL}")


# ---- the browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with ExitStack() as stack:
        try:
            from playwright.sync_api import sync_playwright
            playwright = stack.enter_context(sync_playwright())
            path = next(filter(None, map(shutil.which, BROWSERS)), None)
            browser = stack.enter_context(playwright.chromium.launch(executable_path=path))
        except Exception as error:
            if NODE_MODULES:
                raise
            pytest.skip(f"needs Playwright and Chromium: {error}")
        yield browser


@pytest.fixture
def open_page(browser: Any, sites: dict[str, Path]) -> Iterator[Open]:
    """Opens a site, by its name or folder, and waits until it has answered or said why not. No
    page may have raised an error in the end, or asked another host."""
    complaints: list[str] = []
    with ExitStack() as stack:
        def open_page(site: str | Path, *, script: str = "", **options: Any) -> Any:
            server = stack.enter_context(make_server(sites.get(str(site), site), port=0))
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            context = stack.enter_context(browser.new_context(
                **{"viewport": {"width": 1000, "height": 900}, **options}))
            context.add_init_script(script)
            page = context.new_page()
            url = f"http://127.0.0.1:{server.server_port}/"
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("request", lambda request: request.url.startswith((url, "data:"))
                    or complaints.append(request.url))
            page.goto(url)
            page.wait_for_selector("#answers[aria-busy=false], #status.error", state="attached")
            return page

        yield open_page
    assert complaints == []


def write(page: Any, text: str) -> None:
    """Key by key, and wait for the answer."""
    page.locator("#text").fill("")
    page.locator("#text").press_sequentially(text)
    answered(page)


def answered(page: Any) -> None:
    page.wait_for_selector("#answers[aria-busy=false]", state="attached")


def bars(page: Any) -> list[list[tuple[str, str, float]]]:
    """For each list: what is shown, the piece, and its probability."""
    found: list[list[tuple[str, str, float]]] = page.evaluate("""
        [...document.querySelectorAll("#answers ol")].map(list => [...list.children].map(
            ({ firstChild: bar }) => [bar.textContent, bar.title.replace(/: [^:]*$/, ""),
                                      Number(bar.style.getPropertyValue("--p"))]))""")
    return found


# ---- what the model says


@pytest.mark.parametrize("name", ["albert", "bert"])
@pytest.mark.parametrize("text", ["badoki ___ badoki.", "Lala ____ la [MASK]po ki.", "___"])
def test_candidates_are_those_of_python(open_page: Open, models: dict[str, Path], name: str,
                                        text: str) -> None:
    page = open_page(name)
    write(page, text)
    masked = text.replace("____", "[MASK]").replace("___", "[MASK]")
    expected = fill_mask(*load(models[name], "ForMaskedLM"), masked, 10)
    found = bars(page)
    assert len(found) == len(expected)
    for row, candidates in zip(found, expected, strict=True):
        assert [piece for _, piece, _ in row] == [candidate.token for candidate in candidates]
        assert [shown.strip("…") for shown, _, _ in row] == [
            candidate.token.strip("#").removeprefix("▁") or "▁" for candidate in candidates]
        np.testing.assert_allclose([p for _, _, p in row],
                                   [candidate.probability for candidate in candidates], atol=1e-5)


def test_8_bits_are_those_of_python(open_page: Open, sites: dict[str, Path]) -> None:
    page = open_page("8 bits")
    write(page, "badoki ___ badoki.")
    graph = OnnxModel(sites["8 bits"] / "model", file="model_quantized.onnx")
    tokenizer = load_tokenizer(sites["8 bits"] / "model")
    ids = tokenizer.encode("badoki [MASK] badoki.")
    expected = softmax(graph([ids]).logits[0, ids.index(tokenizer.mask_token_id)])
    [found] = bars(page)
    pieces = tokenizer.convert_tokens_to_ids([piece for _, piece, _ in found])
    assert pieces == np.argsort(-expected)[:10].tolist()
    np.testing.assert_allclose([p for _, _, p in found], expected[pieces], atol=1e-5)


def test_labels_are_those_of_python(open_page: Open, models: dict[str, Path]) -> None:
    page = open_page("classifier")
    write(page, "badoki lala po.")
    model = pipeline("text-classification", models["classifier"])
    expected = model("badoki lala po.", top_k=None)
    [found] = bars(page)
    assert [label for label, _, _ in found] == [answer["label"] for answer in expected]
    np.testing.assert_allclose([p for _, _, p in found],
                               [answer["score"] for answer in expected], atol=1e-5)
    assert page.locator("#answers button").count() == 0


@pytest.mark.parametrize("name", ["albert", "bert"])
def test_candidates_are_put_where_python_puts_them(
        open_page: Open, models: dict[str, Path], name: str) -> None:
    page, text = open_page(name), "badoki ___ la ___."
    model, tokenizer = load(models[name], "ForMaskedLM")
    _, expected = fill_mask(model, tokenizer, text.replace("___", "[MASK]"), 10)
    begins_word = [not c.token.startswith("##") if name == "bert" else c.token.startswith("▁")
                   for c in expected]
    for place in (begins_word.index(True), begins_word.index(False)):
        write(page, text)
        page.locator("#answers ol").nth(1).locator("button").nth(place).click()
        answered(page)
        said = page.input_value("#text")
        assert said.replace("___", "[MASK]").strip() == expected[place].sentence.strip()


def test_examples_are_written_into_the_text(open_page: Open) -> None:
    page = open_page("albert")
    write(page, "badoki la.")
    assert page.text_content("#message") == "Write ___ where a word is to be guessed."
    assert bars(page) == [] and page.locator("#attention").is_visible()
    example = page.locator("#examples button").first
    example.click()
    answered(page)
    assert page.input_value("#text") == example.text_content() and len(bars(page)) == 1


# ---- where it looks


@pytest.mark.parametrize("name", ["albert", "bert", "classifier"])
def test_attention_is_that_of_python(open_page: Open, models: dict[str, Path], name: str) -> None:
    page = open_page(name)
    text = "badoki [MASK] la pola."
    write(page, text)
    kind = "ForSequenceClassification" if name == "classifier" else "ForMaskedLM"
    model, tokenizer = load(models[name], kind)
    ids = tokenizer.encode(text)
    maps = np.concatenate(model([ids], output_attentions=True).attentions)      # [L, N, T, T]
    maps = np.asarray(maps)
    words, grid = page.locator("#words button"), page.locator("#grid button")
    assert words.count() == len(ids) and grid.count() == maps.shape[0] * maps.shape[1]
    opaque = page.evaluate("""[...document.querySelectorAll("#grid canvas")].map(canvas =>
        [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data]
        .filter((_, i) => i % 4 === 3))""")
    for index, weights in enumerate(maps.reshape(-1, len(ids), len(ids))):
        np.testing.assert_allclose(np.array(opaque[index]) / 255, np.sqrt(weights.ravel()),
                                   atol=1.01 / 255)
        grid.nth(index).click()
        for place in (0, index % len(ids), len(ids) - 1):
            words.nth(place).hover()
            shown, strength = page.evaluate("""[...document.querySelectorAll("#words button")].map(
                b => [b.lastChild.textContent, Number(b.style.getPropertyValue("--a"))])
                .reduce(([a, b], [c, d]) => [[...a, c], [...b, d]], [[], []])""")
            row = weights[place]
            np.testing.assert_allclose(np.square(strength), row, atol=1e-5)
            np.testing.assert_allclose([float(text.rstrip("%")) / 100 for text in shown], row,
                                       atol=0.0051)
            assert words.nth(place).get_attribute("aria-pressed") == "true"


def test_what_is_shared_is_said(open_page: Open) -> None:
    assert open_page("albert").text_content("#sharing").startswith(
        "One set of weights, applied 2 times")
    page = open_page("bert")
    assert page.text_content("#sharing") == "3 layers, each with weights of its own."
    assert page.text_content("#chosen").startswith("Head 1 in layer 1:")


# ---- for everyone


def test_the_keyboard_is_enough(open_page: Open) -> None:
    page = open_page("albert")
    keys = page.keyboard

    def tab_to(selector: str) -> None:
        for _ in range(40):
            keys.press("Tab")
            if page.evaluate(f"document.activeElement.matches({selector!r})"):
                return
        raise AssertionError(f"Tab does not reach {selector}")

    tab_to("#theme")
    keys.press("Enter")
    assert page.get_attribute("#theme", "aria-pressed") == "true"
    tab_to("#text")
    keys.press("Control+A")
    keys.type("la ___ la.")
    answered(page)
    tab_to("#answers button")
    keys.press("Enter")
    answered(page)
    assert "___" not in page.input_value("#text")
    assert page.evaluate("document.activeElement.id") == "text"
    tab_to("#words button")
    before = page.text_content("#looks")
    keys.press("ArrowRight")
    assert page.text_content("#looks") != before
    assert page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"
    tab_to("#grid button")
    keys.press("ArrowDown")
    assert page.text_content("#chosen").startswith("Head 1 in application 2:")
    keys.press("ArrowRight")
    assert page.text_content("#chosen").startswith("Head 2 in application 2:")


def colours(page: Any) -> tuple[int, int, int]:
    """How light the ground, a letter and the canvas's ink are, 0 to 765."""
    light = "s => s.match(/\\d+/g).slice(0, 3).map(Number).reduce((a, b) => a + b)"
    return tuple(page.evaluate(f"""[["body", "backgroundColor"], ["body", "color"],
        ["canvas", "color"]].map(([name, property]) =>
            ({light})(getComputedStyle(document.querySelector(name))[property]))"""))


def test_light_and_dark(open_page: Open) -> None:
    page = open_page("albert")
    light = colours(page)
    page.click("#theme")
    dark = colours(page)
    assert light[0] > 700 > 200 > light[1] and dark[0] < 100 < 600 < dark[1]
    assert dark[2] > light[2]
    page.click("#theme")
    assert colours(page) == light
    page = open_page("albert", color_scheme="dark")
    assert colours(page) == dark and page.get_attribute("#theme", "aria-pressed") == "true"
    page.emulate_media(color_scheme="light")
    page.wait_for_selector("#theme[aria-pressed=false]")
    assert colours(page) == light


@pytest.mark.parametrize(("name", "look"), [
    ("albert", "desktop"), ("albert", "dark"), ("albert", "phone"), ("classifier", "phone")])
def test_nothing_sticks_out(open_page: Open, tmp_path: Path, name: str, look: str) -> None:
    options: dict[str, Any] = {"color_scheme": "dark" if look == "dark" else "light"}
    if look == "phone":
        options |= {"viewport": {"width": 360, "height": 740}, "has_touch": True,
                    "is_mobile": True, "device_scale_factor": 2}
    page = open_page(name, **options)
    for text in ("badoki ___ la po.", "la ___ la ___ la. kikikikiki"):
        write(page, text)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    if look == "phone":
        page.locator("#words button").nth(3).tap()
        assert page.locator("#words button").nth(3).get_attribute("aria-pressed") == "true"
    picture = Path(SCREENSHOTS or tmp_path) / f"{name}-{look}.png"
    page.screenshot(path=picture, full_page=True)
    assert picture.stat().st_size > 10_000


# ---- what can be wrong


@pytest.mark.parametrize(("script", "says"), [
    ("delete globalThis.WebAssembly", "This browser has no WebAssembly"),
    ("WebAssembly.validate = () => false", "This browser's WebAssembly has no SIMD")])
def test_a_browser_that_cannot(open_page: Open, script: str, says: str) -> None:
    page = open_page("albert", script=script)
    assert page.text_content("#status").startswith(says)
    assert not page.is_visible("main")


@pytest.mark.parametrize("file", ["model/onnx/model.onnx", "runtime/tokenizers.min.mjs"])
def test_files_that_are_missing_are_named(open_page: Open, sites: dict[str, Path], tmp_path: Path,
                                          file: str) -> None:
    site = shutil.copytree(sites["albert"], tmp_path / "site")
    (site / file).unlink()
    said = open_page(site).text_content("#status")
    assert file in said and "write the site again with “tinyalbert export web”." in said
    if file.endswith(".onnx"):
        (site / file).write_bytes(b"damaged")
        assert open_page(site).text_content("#status").startswith(f"The file {file} cannot be used")


def test_a_text_that_is_too_long(open_page: Open) -> None:
    page = open_page("albert")
    write(page, "___ " + 40 * "la ")
    assert page.get_attribute("#message", "class") == "error"
    said = page.text_content("#message")
    assert said.endswith("tokens, and the model has 32 positions: shorten it.")
    assert bars(page) == [] and not page.locator("#attention").is_visible()
    write(page, "___ la")
    assert len(bars(page)) == 1 and page.locator("#attention").is_visible()


def test_a_page_opened_as_a_file(browser: Any, sites: dict[str, Path]) -> None:
    page = browser.new_page()
    page.goto((sites["albert"] / "index.html").as_uri())
    assert page.text_content("#status").startswith("Browsers do not run this page from a file")
    page.close()
