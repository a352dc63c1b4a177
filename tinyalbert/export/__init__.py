"""Trained models for other languages: an ONNX graph with its tokenizer, in one folder.

In reading order:

    graph.py            nodes and weights, under names that say where in the model each one is
    layers.py           a function for each layer of the package, which adds its nodes to a graph
    tasks.py            a function for each head; the inputs and outputs of the whole
    quantized.py        the same graph with its weights in 8 bits
    folder.py           what is written, and where
    tokenizer_file.py   tokenizer.json
    session.py          the folder, called as our own models are called
    agreement.py        what 8 bits cost, measured
    web.py              a page that runs the model in the browser; its sources are in page/
    npm.py              what that page runs on
    serve.py            the page, shown on this computer
"""
