"""Models, runs and shards of the program reelscale as arrays of numpy.

    model = reelscale.load("runs/mine")                 # a run, a model, a checkpoint, or an .npz that export wrote
    scores = model.predict(features)                    # [rows, D] -> [rows, K] float32
    table = reelscale.metrics("runs/mine", frame=True)  # every loss and metric of a run, as pandas' DataFrame
    reelscale.write_shards("mine/", features, labels, ids, class_count=20)
    features, labels, ids, *_ = reelscale.read_shards("mine/")

Training, converting, annotating and all else is the program's: `reelscale --help`; `reelscale.program()` is its path.
"""

from ._model import Model, load
from ._program import ProgramError, program
from ._runs import metrics
from ._shards import Shards, read_shards, write_shards

__all__ = ["Model", "ProgramError", "Shards", "load", "metrics", "program", "read_shards", "write_shards"]
