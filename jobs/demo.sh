#!/usr/bin/env bash
# The main job, small: synthesize videos, train on 2 ranks, evaluate, annotate. Run by `make demo`, or
# from the folder of a release archive.
#
# REELSCALE   the program; default: the built one, or the archive's
# MPIRUN      what starts its ranks; default: mpirun
set -eu
reelscale=target/release/reelscale
[ ! -e bin/reelscale ] || reelscale=bin/reelscale
reelscale=${REELSCALE:-$reelscale}
data=hdf5-data/quickstart
run=runs/quickstart-$(date +%Y%m%d-%H%M%S)
# Where PoCL is installed mpirun would load LLVM, which takes SIGUSR1 for itself.
export HWLOC_COMPONENTS="${HWLOC_COMPONENTS:--opencl}"
mpirun=${MPIRUN:-mpirun}
ranks="$mpirun -n 2 --bind-to none"
# More ranks than cores: MPICH doesn't mind.
case $($mpirun --version) in *"Open MPI"*) ranks="$ranks --oversubscribe" ;; esac

if [ ! -e $data/train ] || [ ! -e $data/test ]; then
  rm -rf $data
  $ranks $reelscale synthesize --rows 20000 --classes 400 --features 64 --experts 2 --seed 1 \
    --rows-per-shard 2500 --output $data/all
  mkdir -p $data/train $data/test
  mv $data/all/synthetic-0000[0-6].h5 $data/train
  mv $data/all/synthetic-00007.h5 $data/test
  rmdir $data/all
fi
$ranks $reelscale train jobs/quickstart.toml --output "$run"
$ranks $reelscale annotate --model "$run/model" --data "$data/test/*.h5" --output "$run/annotations.csv"
echo
head -n 3 "$run/annotations.csv" | cut -c 1-90
echo
echo "on videos that weren't trained on:"
$ranks $reelscale evaluate --model "$run/model" --data "$data/test/*.h5"
$reelscale inspect "$run/model"
page=$run/report.html
$reelscale report "$run" --output "$page" >/dev/null
cat <<END

What the scores mean; 1 is best, of the loss 0:
  loss      cross entropy of a video, summed over all classes
  Hit@1, 5  the share of videos that have their best class, or one of their five best
  PERR      of a video with n classes, the share of them among its n best; labelled: of those with any
  GAP@20    the 20 best classes of all videos in one list by score: at each right one, the share that
            is right so far; averaged over what could be right
  MAP@20, MAP, all scores   the same for each class by itself, and the mean over classes
"alike" are the classes whose mixtures point most in one direction (1: the same one).

The run on a page: $page
Where it stands, also while it runs: $reelscale status $run
Next, your own data (README.md; all keys of a job: jobs/all-keys.toml):
  $reelscale convert --from npz --features features --ids ids --labels labels.csv --classes 20 \\
      --output hdf5-data/mine FILES.npz
END
