#!/bin/bash
# Several hosts on this machine, for tests: network namespaces with host names of their own on one
# bridge, so that ranks talk over TCP only and links can be slowed and cut. As root; iproute2.
#
#   hosts.sh up HOSTS            makes reel1 ... reelHOSTS
#   hosts.sh run N COMMAND...    runs COMMAND under mpirun, one rank on each of the first N hosts
#   hosts.sh run NxR COMMAND...  the same, R ranks on each
#   hosts.sh rate HOST RATE      what a host may send: 20mbit, 1gbit
#   hosts.sh cut HOST            takes a host's link down
#   hosts.sh heal HOST           and up again
#   hosts.sh end HOSTS           kills what is left on them
#   hosts.sh down HOSTS          removes everything; processes in there must have ended
#   hosts.sh agent HOST COMMAND  what mpirun starts its daemons by
set -eu
PATH=$PATH:/usr/sbin:/sbin
command=${1:?command}
shift

# In a host: its network, its host name, its own /etc/hosts (/etc/netns/NAME/hosts).
enter() {
  local host=$1
  shift
  exec ip netns exec "$host" unshare -u sh -c 'hostname "$0"; exec "$@"' "$host" "$@"
}

case $command in
up)
  ip netns add reelswitch
  ip -n reelswitch link add br0 type bridge
  ip -n reelswitch link set br0 up
  names=$(for i in $(seq "$1"); do echo "10.77.9.$i reel$i"; done)
  for i in $(seq "$1"); do
    mkdir -p "/etc/netns/reel$i"
    printf '127.0.0.1 localhost\n%s\n' "$names" > "/etc/netns/reel$i/hosts"
    ip netns add "reel$i"
    ip link add "e$i" netns reelswitch type veth peer name eth0 netns "reel$i"
    ip -n reelswitch link set "e$i" master br0 up
    ip -n "reel$i" addr add "10.77.9.$i/24" dev eth0
    ip -n "reel$i" link set eth0 up
    ip -n "reel$i" link set lo up
  done ;;
run)
  hosts=${1%x*} each=1
  case $1 in *x*) each=${1#*x} ;; esac
  shift
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
  names=$(seq -s, -f "reel%g:$each" "$hosts")
  # plm_rsh_agent is one word to mpirun: this script, told by its name what it is to do.
  enter reel1 mpirun -n $((hosts * each)) --host "$names" --bind-to none \
    --mca plm_rsh_agent "$(realpath "$0") agent" --mca plm_rsh_no_tree_spawn 1 \
    --mca btl self,vader,tcp --mca btl_tcp_if_include eth0 --mca oob_tcp_if_include eth0 "$@" ;;
agent)
  while [ "${1#-}" != "$1" ]; do shift; done
  host=$1
  shift
  enter "$host" sh -c "$*" ;;
rate)
  tc -n "$1" qdisc replace dev eth0 root tbf rate "$2" burst 256k latency 400ms ;;
cut)
  ip -n reelswitch link set "e${1#reel}" down ;;
heal)
  ip -n reelswitch link set "e${1#reel}" up ;;
end)
  for i in $(seq "$1"); do
    ip netns pids "reel$i" | xargs -r kill -KILL
  done ;;
down)
  for i in $(seq "$1"); do
    ip netns del "reel$i" 2>/dev/null || true
    rm -rf "/etc/netns/reel$i"
  done
  ip netns del reelswitch 2>/dev/null || true ;;
*)
  echo "hosts.sh: unknown command $command" >&2
  exit 2 ;;
esac
