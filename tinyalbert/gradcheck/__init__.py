"""Is a gradient that was written by hand right? Compare it with what moving the numbers does.

    report = check_gradients(layer, x)                      # a Layer
    report = check_gradients((gelu, gelu_backward), x)      # a pair of functions
    report = check_gradients(model, ids, labels=labels)     # a model with a loss
    assert report.ok, report                                # the report prints itself

Let L = Σ dy · forward(x) with a random dy. Then backward(dy) must be the slope of L in every number
that went in, and a slope can be measured:  (L(x + h v) - L(x - h v)) / 2h  in the direction v.

**Is 1e-7 good?** The measurement has an error of its own: about h², because L is curved, and about
1e-16/h, because float64 has sixteen digits. At h = 1e-5 both are near 1e-10. A right gradient
therefore agrees to 1e-8 or better, and *never exactly*; a wrong one is usually off by 1e-3 or more.
The tolerance, 1e-6, lies in the empty space between. float32 has seven digits; the best agreement
to be had there is about 1e-3, so everything is converted to float64 first.

**Error of what, relative to what?** Of a slope in one direction, relative to the length of the
tensor's whole gradient, because a single element may well be 0. Some gradients are 0 altogether:
softmax ignores a constant, so attention's key bias has none, and 1e-17 beside a measured 1e-12 is
agreement, not an error of 100 %. A difference that the rounding of L explains is therefore none,
and a tensor that has nothing larger is reported as "zero".

A kink (relu at 0) between x - h and x + h spoils a measurement, and so does a strong curve. A
direction that disagrees is measured again with other steps; a wrong gradient is wrong with each of
them. *At* a kink there is no slope: do not check relu at 0.

experiment.py measures, laws.py checks the protocol, diagnosis.py guesses what is wrong, report.py
prints, example.py checks a whole small model. Left out: second derivatives, and proof. What was not
tried was not checked.
"""

from __future__ import annotations

from typing import Any

from .diagnosis import diagnose
from .experiment import Experiment
from .laws import NOT_REPEATABLE, addition_law, backward_laws, forward_laws, is_repeatable
from .report import Report

__all__ = ["Report", "check_gradients"]


def check_gradients(layer: Any, *inputs: Any, seed: int = 0, tolerance: float = 1e-6,
                    dropout: bool = True, elements: int = 64, **arguments: Any) -> Report:
    """Compare backward with measured slopes, for every parameter and every input with a gradient.

    layer: a `Layer`, a model whose output has a `loss`, or a pair of functions (forward, backward)
        with the same protocol. A forward that returns y alone has y for its cache.
    inputs, arguments: forward's. backward returns the gradients of the first few; arrays of
        floating-point numbers beyond those are constants, for instance a mask.
    seed: of dy, of the directions, and of dropout, which starts from it in every evaluation.
        dropout=False passes no generator: the layer is checked as it evaluates.
    elements: a tensor that has no more is checked element by element, a larger one along two random
        directions and this many random elements.

    While it runs, the parameters are in float64, and gains and biases are moved a little at random:
    with every gain 1 and every bias 0, many a wrong gradient is right. Then all is put back.
    Raises InputError if the output is no array and has no loss, or if nothing has a gradient.
    """
    experiment = Experiment.of(layer, inputs, arguments, seed, tolerance, dropout, elements)
    with experiment.borrowed_parameters():
        laws, rows = list(forward_laws(experiment)), []
        if is_repeatable(experiment):
            laws += [*backward_laws(experiment), *addition_law(experiment)]
            rows = [row if row.ok else diagnose(experiment, row) for row in experiment.rows()]
        elif not laws:
            laws = [NOT_REPEATABLE]
    return Report(experiment.title, rows, laws)
