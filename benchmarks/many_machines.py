"""What data-parallel training on 8, 64 and 512 machines should cost: arithmetic, no measurement.

    python benchmarks/many_machines.py

prints the tables of docs/many_machines.md. A step of the paper's batch, 4096 sequences of 512
tokens of which 20 are masked, on n machines:

    computing   FLOPs of the step / (n x FLOP/s of a machine)
    sending     2 (n-1)/n x bytes / bandwidth + 2 (n-1) x latency       (a ring all-reduce)
    efficiency  computing / (computing + sending)

Nothing is sent while anything is computed, as in our step. FLOPs and bytes are those of
tinyalbert.params. Left out: waiting for the slowest machine, and what else uses the network.
"""

from __future__ import annotations

from tinyalbert.params import FLOAT, parameter_totals, training_flops
from tinyalbert.published import PUBLISHED

BATCH, TOKENS, MASKED = 4096, 512, 20
MACHINES = (8, 64, 512)
MODELS = ("albert-base-v2", "albert-large-v2", "albert-xlarge-v2", "albert-xxlarge-v2",
          "bert-base-uncased", "bert-large-uncased")
NETWORKS = {"1 Gbit/s": (1e9 / 8, 50e-6), "10 Gbit/s": (10e9 / 8, 25e-6),      # bytes/s, seconds
            "100 Gbit/s": (100e9 / 8, 5e-6)}
KINDS = {"a CPU machine of 2 TFLOP/s": 2e12, "a GPU of 60 TFLOP/s": 60e12}      # reached, not peak


def gradient_bytes(name: str) -> int:
    return FLOAT * parameter_totals(PUBLISHED[name])["with heads, for pretraining"]


def step_flops(name: str) -> int:
    return BATCH * training_flops(PUBLISHED[name], TOKENS, MASKED)


def computing(name: str, machines: int, flops_per_second: float) -> float:
    return step_flops(name) / (machines * flops_per_second)


def sending(size: float, machines: int, network: str) -> float:
    bandwidth, latency = NETWORKS[network]
    return 2 * (machines - 1) / machines * size / bandwidth + 2 * (machines - 1) * latency


def efficiency(name: str, machines: int, network: str, flops_per_second: float) -> float:
    busy = computing(name, machines, flops_per_second)
    return busy / (busy + sending(gradient_bytes(name), machines, network))


def row(*cells: object) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def print_table(*rows: tuple[object, ...]) -> None:
    print("\n".join([row(*rows[0]), row(*["---"] * len(rows[0])),
                     *(row(*cells) for cells in rows[1:])]), end="\n\n")


def seconds(value: float) -> str:
    return f"{value:.3g}" if value >= 1 else f"{value:.2g}"


def main() -> None:
    print_table(("", "gradients, MB a step", "petaFLOPs a step"),
                *((name, f"{gradient_bytes(name) / 1e6:,.1f}", f"{step_flops(name) / 1e15:.2f}")
                  for name in MODELS))
    print("Seconds of an all-reduce, with 8 / 64 / 512 machines:\n")
    print_table(("", *NETWORKS),
                *((name, *(" / ".join(seconds(sending(gradient_bytes(name), n, network))
                                      for n in MACHINES) for network in NETWORKS))
                  for name in MODELS))
    for kind, rate in KINDS.items():
        print(f"Efficiency, {kind}, with 8 / 64 / 512 of them:\n")
        print_table(("", *NETWORKS),
                    *((name, *(" / ".join(f"{efficiency(name, n, network, rate):.0%}"
                                          for n in MACHINES) for network in NETWORKS))
                      for name in MODELS))


if __name__ == "__main__":
    main()
