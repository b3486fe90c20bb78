#!/bin/bash
# A Slurm of its own on this machine, for tests: munged, slurmctld and several slurmd, as this user
# or root, listening on loopback only.
#
#   cluster.sh up DIR [NODES [BASEPORT]]   returns when all nodes n1 ... are idle
#   cluster.sh down DIR                    ends jobs, then every daemon by its pid file; removes DIR
#
# SLURM_CONF=DIR/slurm.conf makes sbatch and the others talk to it.
set -eu
PATH=$PATH:/usr/sbin:/sbin
command=${1:?up or down} dir=${2:?directory} nodes=${3:-4} port=${4:-17300}
export SLURM_CONF=$dir/slurm.conf

write_conf() {
  local host user
  host=$(hostname -s) user=$(id -un)
  cat > "$SLURM_CONF" <<C
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
AuthInfo=socket=$dir/munge/munge.sock,cred_expire=5
CredType=cred/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmctldPort=$port
SrunPortRange=$((port + 20))-$((port + 119))
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool/%n
TmpFS=$dir/tmp/%n
SlurmctldPidFile=$dir/run/slurmctld.pid
SlurmdPidFile=$dir/run/slurmd-%n.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_min_interval=100000,sched_interval=2,bf_interval=2
JobRequeue=1
ReturnToService=1
SlurmdTimeout=6
SlurmctldTimeout=10
MessageTimeout=5
BatchStartTimeout=10
TCPTimeout=2
KillWait=5
OverTimeLimit=0
UnkillableStepTimeout=20
InactiveLimit=0
MinJobAge=600
MailProg=/bin/true
GresTypes=gpu
NodeName=n[1-$nodes] NodeHostname=$host NodeAddr=127.0.0.1 Port=[$((port + 1))-$((port + nodes))] CPUs=4 RealMemory=1000 Gres=gpu:4 State=UNKNOWN
PartitionName=main Nodes=n[1-$nodes] Default=YES MaxTime=INFINITE State=UP
C
  # What Slurm takes for GPUs, counts and hands out.
  local device
  for device in null zero full random; do
    echo "NodeName=n[1-$nodes] Name=gpu File=/dev/$device"
  done > "$dir/gres.conf"
}

up() {
  if [ -e "$dir" ]; then
    echo "cluster.sh: $dir is there already" >&2
    exit 1
  fi
  umask 022
  mkdir -p "$dir"/{munge,state,run,log}
  for node in $(seq "$nodes"); do mkdir -p "$dir"/{spool,tmp}/n"$node"; done
  write_conf
  (umask 077; head -c 1024 /dev/urandom > "$dir/munge/key")
  munged --key-file="$dir/munge/key" --socket="$dir/munge/munge.sock" \
    --pid-file="$dir/run/munged.pid" --log-file="$dir/log/munged.log" \
    --seed-file="$dir/munge/seed" --num-threads=2
  slurmctld -f "$SLURM_CONF" -i
  for node in $(seq "$nodes"); do slurmd -f "$SLURM_CONF" -N "n$node"; done
  for _ in $(seq 300); do
    [ "$(sinfo -h -N -o %T 2> /dev/null | grep -cx idle)" = "$nodes" ] && return
    sleep 0.1
  done
  echo "cluster.sh: nodes aren't idle after 30 s" >&2
  sinfo -N >&2
  exit 1
}

# Waits 5 s for a process to be gone.
gone() {
  for _ in $(seq 50); do
    kill -0 "$1" 2> /dev/null || return 0
    sleep 0.1
  done
  return 1
}

down() {
  [ -d "$dir" ] || return 0
  local pid
  if [ -s "$dir/run/slurmctld.pid" ] && kill -0 "$(cat "$dir/run/slurmctld.pid")" 2> /dev/null; then
    timeout 10 scancel -f -u "$(id -un)" 2> /dev/null || true
    timeout 10 scancel -f -s KILL -u "$(id -un)" 2> /dev/null || true
    for _ in $(seq 100); do
      [ -z "$(timeout 5 squeue -h -t running,completing,suspended 2> /dev/null)" ] && break
      sleep 0.1
    done
  fi
  for file in "$dir"/run/slurmd-*.pid "$dir"/run/slurmctld.pid "$dir"/run/munged.pid; do
    [ -s "$file" ] || continue
    pid=$(cat "$file")
    grep -qE 'slurm|munge' "/proc/$pid/comm" 2> /dev/null || continue
    kill "$pid" 2> /dev/null || true
    gone "$pid" || kill -9 "$pid"
  done
  rm -rf "$dir"
}

"$command"
