"""The command line of every experiment module: a thin shell over `research.training` and `research.ablation`.

    python -m experiments.NAME [train]   train, evaluate and write a run folder; the same command resumes
    python -m experiments.NAME evaluate  evaluate a trained run on a split
    python -m experiments.NAME predict   write predictions of a split to FILE.csv, FILE.jsonl or FILE.npz
    python -m experiments.NAME describe  show fields, layers, parameters, FLOPs and fingerprint
    python -m experiments.NAME rollback  go back to an earlier checkpoint of a run; what came later is kept in archive/
    python -m experiments.NAME plan      say what it would take of hardware: memory, communication, time, cost
    python -m experiments.NAME ablate    run a study: what is missing of it, and nothing else; then report
    python -m experiments.NAME report    write the report of a study, or one of several studies together
    python -m experiments.NAME power     say how many seeds it takes to see an effect of a given size
    python -m experiments.NAME verify    run one trial of a study again and compare

Exit codes: 0 done; 1 failed; 2 bad usage, found before any computation; 75 interrupted, saved and resumable; 130
stopped at once by a second Ctrl-C.
"""

from research.cli.main import main

__all__ = ["main"]
