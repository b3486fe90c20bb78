"""What a run has told of itself."""

import json
from pathlib import Path


def metrics(run, *, frame=False):
    """Every loss and metric of a run so far, in order: a list of dicts, as `RUN/metrics.jsonl` has them.

    `run` is the run's directory, or that file. With `frame` it is a DataFrame of pandas, a row each, whose columns are
    named by their way: `step`, `round`, `epoch`, `loss`, `validation.gap_at_20`, `timing.seconds`, ... A line that the
    run is just writing is left out; another one that isn't JSON is a ValueError with its number.
    """
    path = Path(run)
    if path.is_dir():
        path = path / "metrics.jsonl"
    events = []
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith("\n"):
                break
            try:
                events.append(json.loads(line))
            except ValueError as error:
                raise ValueError(f"{path}: line {number}: {error}, expected JSON") from None
    if not frame:
        return events
    import pandas

    return pandas.json_normalize(events)
