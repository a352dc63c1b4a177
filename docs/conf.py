"""The site: `make site` writes it to docs/_build/html. The pages of notebooks, solutions and
modules are made here from what stands elsewhere, into folders that git ignores. Formulas become
MathML, which browsers draw themselves: no script and nothing from the network.
"""

from __future__ import annotations

import json
import re
import shutil
from base64 import b64decode
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any

import jupytext
from docutils import nodes
from latex2mathml.converter import convert as latex_to_mathml

import tinyalbert
from tinyalbert.course.block_view import page as block_page

HERE = Path(__file__).parent
NOTEBOOKS = HERE.parent / "notebooks"

project, author = "tinyalbert", "the tinyalbert authors"
release = tinyalbert.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "sphinx_copybutton",
              "sphinx_design"]
exclude_patterns = ["_build", "pages"]
html_math_renderer = "mathml"
html_theme = "furo"
html_title = "tinyalbert"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_extra_path = ["pages"]
html_theme_options = {"navigation_with_keys": True}
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
highlight_language = "none"          # folders and formulas are no Python; code says that it is
nb_execution_mode = "off"           # the notebooks are committed executed
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_type_aliases = {"Array": "Array", "AnyConfig": "AnyConfig"}
smartquotes = False                 # Φ' is a derivative
suppress_warnings = ["mystnb.unknown_mime_type", "myst.header"]

# A page of the API for each part of the house, in reading order.
API = {
    "config": ["config", "published"], "mathematics": ["functional", "backend"],
    "layers": ["layer", "layers", "embeddings", "packing", "attention", "feed_forward", "encoder",
               "pooler", "heads"],
    "models": ["model", "tasks", "classification", "bert", "seq2seq", "generation", "outputs",
               "pretrained"],
    "training": ["optim", "pretraining.config", "pretraining.pretrain", "pretraining.trainer",
                 "training.checkpoint"],
    "gradcheck": ["gradcheck", "gradcheck.report"],
    "tokenization": ["tokenization.albert", "tokenization.bert", "tokenization.auto",
                     "tokenization.training"],
    "data": ["data.corpus", "data.shards", "data.segments", "data.masking", "data.batches"],
    "finetuning": ["finetuning.config", "finetuning.finetune", "finetuning.finetuned",
                   "finetuning.task", "estimators"],
    "use": ["pipelines", "scoring", "params", "convert"],
    "course": ["course", "course.exercise"],
}


def make_pages() -> None:
    for folder in ("course", "solutions", "api", "pages"):
        shutil.rmtree(HERE / folder, ignore_errors=True)
        (HERE / folder).mkdir()
    for notebook in NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"):
        shutil.copy(notebook, HERE / "course")
        solutions = NOTEBOOKS / "solutions" / f"{notebook.stem}.py"
        (HERE / "solutions" / f"{notebook.stem}.md").write_text(collapsed(solutions))
    (HERE / "pages" / "block.html").write_text(block_page(), encoding="utf-8")
    for page, modules in API.items():
        text = "\n".join(f"```{{eval-rst}}\n.. automodule:: tinyalbert.{module}\n"
                         "   :members:\n```\n" for module in modules)
        (HERE / "api" / f"{page}.md").write_text(f"# {page.capitalize()}\n\n{text}\n")


def describe(app: Any, doctree: Any) -> None:
    """Pictures of notebooks get their alternative texts: their files are named by their content."""
    alts = {}
    for path in NOTEBOOKS.glob("*.ipynb"):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            for output in cell.get("outputs", []):
                alt = output.get("metadata", {}).get("image/png", {}).get("alt")
                if alt:
                    png = b64decode("".join(output["data"]["image/png"]))
                    alts[sha256(png).hexdigest()] = alt
    for image in doctree.findall(nodes.image):
        name = Path(image["uri"]).stem
        image["alt"] = alts.get(name, image.get("alt", ""))


def collapsed(solutions: Path) -> str:
    """The text as it is; every solution behind a click."""
    parts = []
    for cell in jupytext.read(solutions).cells:
        title = cell.metadata.get("title", "Code")
        parts.append(cell.source if cell.cell_type == "markdown" else
                     f":::{{dropdown}} {title}\n```python\n{cell.source}\n```\n:::")
    return "---\norphan: true\n---\n\n" + "\n\n".join(parts) + "\n"


def as_rst(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text: what is indented is shown as it stands, the rest is prose."""
    result: list[str] = []
    for indented, group in groupby(map(str.rstrip, lines),
                                   lambda line: line.startswith("    ")):
        text = "\n".join(group)
        if indented:
            result += ["", "::", "", *text.split("\n"), ""]
        else:
            escaped = re.sub(r"([*_|\\])", r"\\\1", text)
            result += re.sub(r"`([^`]+)`", lambda found: f"``{found[1]}``".replace("\\", ""),
                             escaped).split("\n")
    lines[:] = result


def math(translator: Any, node: Any) -> None:
    display = node.tagname == "math_block"
    latex = re.sub(r"\\(tag|label)\{[^}]*\}", "", node.astext())
    formula = latex_to_mathml(latex, display="block" if display else "inline")
    translator.body.append(f'<div class="math">{formula}</div>' if display else formula)
    raise nodes.SkipNode


def setup(app: Any) -> None:
    make_pages()
    app.add_html_math_renderer("mathml", inline_renderers=(math, None),
                               block_renderers=(math, None))
    app.connect("doctree-read", describe)
    app.connect("autodoc-process-docstring", as_rst)
