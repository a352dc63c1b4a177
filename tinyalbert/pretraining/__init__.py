"""Batches to a trained ALBERT.

    config.py         every setting, and the presets
    pretrain.py       the whole run, in a straight line
    trainer.py        one step, the evaluation, and what is saved
    convergence.py    says in words whether it learns
    metrics.py, run.py    what a run leaves on the disk
"""
