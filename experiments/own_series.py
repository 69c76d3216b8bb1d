"""Your own series: python -m experiments.own_series --data.name river.csv --data.column level

Mean and deviation, and whether there are gaps, are found in the file and written into the value, with a digest of it;
flags that say otherwise win. Say how long a season is by --data.season, and how far back to look by --data.window.
Without a file it reads the sunspots of `sunspots_lstm`.

Claim    A GRU that sees the last 24 points forecasts the next point better than the last one does.
Command  python -m experiments.own_series
Cost     6 s of `seconds.total`, programs compiled before, on two cores of a shared x86-64 virtual machine, much
         other work beside it.
Result   test mean absolute error 14.8, 95 % t interval 14.3 to 15.3 (seeds 0 to 4; commit e66254f); the last point errs
         by 25.4, that of a season before by 27.9, and ARIMA(9,0,0) by 15.2.
"""

from experiments.baselines.arima import ARIMA
from research.ablation import Study, one_at_a_time
from research.cli import main
from research.data import Series
from research.experiment import Experiment, fit
from research.models import RecurrentClassifier
from research.optimization import Optimizer
from research.tasks import Forecasting

experiment = Experiment(
    model=RecurrentClassifier(hidden=32, cell="gru", classes=1, dropout=0.1),
    task=Forecasting(loss="huber"),
    data=Series("sunspots", window=24, season=11, mean=42.9, std=34.2),
    optimizer=Optimizer("adamw", learning_rate=3e-3, schedule="cosine", warmup=20, weight_decay=1e-2, clip_norm=1.0),
    steps=400,
    batch_size=32,
)

smoke = {"steps": 10, "model.hidden": 8, "optimizer.warmup": 2}

studies = {
    "memory": Study(
        one_at_a_time({"model.cell": ("rnn", "lstm"), "data.window": (12, 48), "task.loss": ("squared",)}),
        description="Which cell forecasts this series best, how far back should it see, and does the loss matter?",
    )
}

baselines = {"arima": ARIMA((9, 0, 0))}

if __name__ == "__main__":
    main(experiment, smoke=smoke, studies=studies, baselines=baselines, fit=fit, file=__file__, doc=__doc__)
