//! Where ranks can be reached: the addresses of a rank's host, its listening socket, and what it
//! tells all others of both.

use std::env;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use bytemuck::{Pod, Zeroable};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use rustix::net::sockopt::{set_ipv6_v6only, set_socket_reuseaddr};
use rustix::net::{AddressFamily, bind, getsockname, listen};
use rustix::process::{Pid, Signal, kill_process};
use sha2::{Digest, Sha256};

use crate::system;

/// Names of the network interfaces that may be used, comma-separated, where not all may.
const INTERFACES: &str = "REELSCALE_WATCH_INTERFACES";
/// `first-last`: ports that a firewall lets through.
const PORTS: &str = "REELSCALE_WATCH_PORTS";
const ADDRESSES_MAX: usize = 8;
/// Connections that the system keeps until they are taken in.
const BACKLOG: i32 = 1024;

/// What all ranks know of a rank.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Peer {
    host: [u8; 64],
    /// The same for ranks that share a network stack: one running system, one name space of it.
    pub(crate) place: [u8; 16],
    /// The same for ranks that see one another's processes.
    processes: [u8; 16],
    /// When its process began, in clock ticks of the system: its number may be used again.
    began: u64,
    pub(crate) pid: u32,
    port: u16,
    count: u16,
    addresses: [[u8; 16]; ADDRESSES_MAX],
}

impl Peer {
    /// This rank, which listens at `port`; 0: nowhere.
    pub(crate) fn own(port: u16) -> Peer {
        let name = rustix::system::uname().nodename().to_bytes().to_vec();
        let mut host = [0; 64];
        let length = name.len().min(host.len());
        host[..length].copy_from_slice(&name[..length]);
        let found = if port > 0 { addresses() } else { Vec::new() };
        let mut addresses = [[0; 16]; ADDRESSES_MAX];
        let count = found.len().min(ADDRESSES_MAX);
        for (place, address) in addresses.iter_mut().zip(&found) {
            *place = address.octets();
        }
        let (pid, count) = (std::process::id(), count as u16);
        let (place, processes) = (place_of("net"), place_of("pid"));
        let began = system::process(pid).map_or(0, |process| process.began);
        Peer { host, place, processes, began, pid, port, count, addresses }
    }

    pub(crate) fn host(&self) -> String {
        let end = self.host.iter().position(|byte| *byte == 0).unwrap_or(self.host.len());
        String::from_utf8_lossy(&self.host[..end]).replace(char::is_control, "?")
    }

    /// Whether this rank's process is stopped, by a signal or a tracer, as far as rank `own` can
    /// see it.
    fn is_stopped(&self, own: &Peer) -> bool {
        let here = self.processes == own.processes && self.began > 0;
        let stopped = |process: system::Process| process.stopped && process.began == self.began;
        here && system::process(self.pid).is_some_and(stopped)
    }

    fn own_addresses(&self) -> impl Iterator<Item = Ipv6Addr> {
        self.addresses[..self.count as usize].iter().map(|octets| Ipv6Addr::from(*octets))
    }
}

/// Kills the ranks of rank `own`'s host that are stopped: they can't leave by themselves, and where
/// their launcher is gone nobody else makes them.
pub(crate) fn kill_stopped(peers: &[Peer], own: usize) {
    for peer in peers.iter().filter(|peer| peer.is_stopped(&peers[own])) {
        if let Some(process) = Pid::from_raw(peer.pid as i32) {
            // It may have gone meanwhile.
            let _ = kill_process(process, Signal::KILL);
        }
    }
}

/// The addresses to try, one after the other, for each rank as seen from rank `own`: itself
/// first where both share a network stack; last what several hosts have (those of bridges, say),
/// where somebody else may listen.
pub(crate) fn addresses_of(peers: &[Peer], own: usize) -> Vec<Vec<SocketAddr>> {
    let shared = |address: &Ipv6Addr, place: [u8; 16]| {
        let others = peers.iter().filter(|peer| peer.place != place);
        others.into_iter().any(|peer| peer.own_addresses().any(|other| other == *address))
    };
    let of = |peer: &Peer| {
        let all = || peer.own_addresses();
        let mut found: Vec<Ipv6Addr> = all().filter(|one| !shared(one, peer.place)).collect();
        found.extend(all().filter(|one| shared(one, peer.place)));
        let (here, known) = (peer.place == peers[own].place, peer.count > 0);
        found.sort_by_key(|address| {
            let loopback = address.to_canonical().is_loopback();
            if loopback { if here { 0 } else { 2 } } else { 1 }
        });
        found.retain(|address| here || !address.to_canonical().is_loopback());
        let socket = |address: Ipv6Addr| SocketAddr::new(address.to_canonical(), peer.port);
        if known { found.into_iter().map(socket).collect() } else { Vec::new() }
    };
    peers.iter().map(of).collect()
}

/// Addresses of the interfaces that are up, IPv4 in IPv6's form. No name is ever resolved.
fn addresses() -> Vec<Ipv6Addr> {
    let wanted = env::var(INTERFACES).ok();
    let named = |name: &str| {
        wanted.as_ref().is_none_or(|wanted| wanted.split(',').any(|one| one.trim() == name))
    };
    let Ok(interfaces) = getifaddrs() else { return Vec::new() };
    let mut found = Vec::new();
    for interface in interfaces {
        let up = interface.flags.contains(InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING);
        let Some(address) = interface.address.filter(|_| up && named(&interface.interface_name))
        else {
            continue;
        };
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        let v6 = address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip()));
        match v4.or(v6) {
            Some(IpAddr::V4(address)) => found.push(address.to_ipv6_mapped()),
            // Those of a link alone want its name, too.
            Some(IpAddr::V6(address)) if !address.is_unicast_link_local() => found.push(address),
            _ => {}
        }
    }
    // Should there be too many, those of this host alone go first.
    found.sort_by_key(|address| (address.to_canonical().is_loopback(), *address));
    if let Some(loopback) = found.iter().position(|one| one.to_canonical().is_loopback()) {
        found.swap(0, loopback);
    }
    found.truncate(ADDRESSES_MAX);
    found
}

/// What tells one running system, and one name space of this kind on it, from another. Names of
/// hosts don't: containers may share them.
fn place_of(kind: &str) -> [u8; 16] {
    Sha256::digest(system::name_space(kind))[..16].try_into().expect("sixteen bytes")
}

/// A socket that listens on all interfaces, and its port.
///
/// # Errors
/// What the system says.
pub(crate) fn listening() -> io::Result<(OwnedFd, u16)> {
    let (first, last) = ports();
    let mut outcome = Err(io::ErrorKind::AddrInUse.into());
    for port in first..=last {
        // IPv6 takes IPv4, too, unless the system has none.
        outcome = listening_at(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port)
            .or_else(|_| listening_at(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port));
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

fn listening_at(address: IpAddr, port: u16) -> io::Result<(OwnedFd, u16)> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = system::socket(family)?;
    if address.is_ipv6() {
        set_ipv6_v6only(&socket, false)?;
    }
    if port > 0 {
        set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &SocketAddr::new(address, port))?;
    listen(&socket, BACKLOG)?;
    let at = SocketAddr::try_from(getsockname(&socket)?)?;
    Ok((socket, at.port()))
}

/// The ports that may be used; 0: whichever is free.
fn ports() -> (u16, u16) {
    let text = env::var(PORTS).unwrap_or_default();
    let range = text
        .split_once('-')
        .and_then(|(first, last)| Some((first.trim().parse().ok()?, last.trim().parse().ok()?)));
    range.filter(|(first, last)| (1..=*last).contains(first)).unwrap_or((0, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(place: u8, addresses: &[&str]) -> Peer {
        let mut peer = Peer { place: [place; 16], ..Peer::own(0) };
        (peer.port, peer.count) = (7, addresses.len() as u16);
        for (place, address) in peer.addresses.iter_mut().zip(addresses) {
            *place = address.parse::<Ipv4Addr>().unwrap().to_ipv6_mapped().octets();
        }
        peer
    }

    #[test]
    fn addresses_that_several_hosts_have_are_tried_last() {
        let peers = [
            peer(1, &["127.0.0.1", "172.17.0.1", "10.0.0.1"]),
            peer(1, &["127.0.0.1", "172.17.0.1", "10.0.0.1"]),
            peer(2, &["127.0.0.1", "172.17.0.1", "10.0.0.2"]),
            peer(3, &[]),
        ];
        let found = addresses_of(&peers, 0);
        let text = |rank: usize| -> Vec<String> {
            found[rank].iter().map(|address| address.to_string()).collect()
        };
        assert_eq!(text(1), ["127.0.0.1:7", "10.0.0.1:7", "172.17.0.1:7"]);
        assert_eq!(text(2), ["10.0.0.2:7", "172.17.0.1:7"]);
        assert!(text(3).is_empty());
    }

    #[test]
    fn only_a_stopped_process_that_began_then_is_killed() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = Pid::from_child(&child);
        let began = system::process(child.id()).unwrap().began;
        let other = Peer { pid: child.id(), began, ..Peer::own(0) };
        let peers = [Peer::own(0), other, Peer { began: began + 1, ..other }];
        kill_stopped(&peers, 0);
        assert_eq!(child.try_wait().unwrap(), None, "it runs");
        kill_process(process, Signal::STOP).unwrap();
        while !peers[1].is_stopped(&peers[0]) {
            std::thread::yield_now();
        }
        kill_stopped(&[peers[0], peers[2]], 0);
        assert_eq!(child.try_wait().unwrap(), None, "another process of this number");
        kill_stopped(&peers, 0);
        assert!(!child.wait().unwrap().success());
    }

    #[test]
    fn this_host_has_a_name_a_place_and_addresses() {
        let own = Peer::own(9);
        assert!(!own.host().is_empty() && own.pid > 0 && own.count > 0, "{own:?}");
        assert_eq!(own.place, Peer::own(9).place);
        let (_socket, port) = listening().unwrap();
        assert!(port > 0);
    }
}
