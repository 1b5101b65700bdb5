//! Sockets for ICMP.
//!
//! Linux gives sockets for echo requests alone to everybody whose group the administrator allows. They
//! are tried first; raw sockets, which see all of ICMP, need a capability.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU8;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, bind,
    recvmsg, sendto, setsockopt, socket, sockopt,
};
use rustix::net::sockopt::{Ipv4PathMtuDiscovery, set_ip_mtu_discover};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::packet::strip_ipv4_header;
use crate::probe::IpProtocol;

/// The largest packet.
const MAX_PACKET_BYTES: usize = u16::MAX as usize;

/// How a socket is set up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Options {
    pub(super) protocol: IpProtocol,
    pub(super) source: Option<IpAddr>,
    pub(super) ttl: Option<NonZeroU8>,
    pub(super) dont_fragment: bool,
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub(super) enum SocketError {
    #[error(
        "no permission to send ICMP: the group of this process is not within the range of sysctl \
         net.ipv4.ping_group_range, and the process has no CAP_NET_RAW"
    )]
    Permission,
    #[error("this machine has no such socket: {0}")]
    Unsupported(Errno),
    #[error("cannot set up a socket for ICMP: {0}")]
    Setup(io::Error),
}

/// A socket for ICMP.
#[derive(Debug)]
pub(super) struct IcmpSocket {
    /// Not of UDP, but it waits as any socket of datagrams does.
    fd: UdpSocket,
    protocol: IpProtocol,
    is_raw: bool,
}

/// What a socket has to say.
#[derive(Debug)]
pub(super) enum Event {
    /// A message came.
    Message(Received),
    /// Somebody complained of the request: type and code of the message, and whose it is.
    Complaint { kind: u8, code: u8, from: Option<IpAddr> },
}

/// A message of ICMP.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) from: Option<IpAddr>,
    pub(super) message: Vec<u8>,
    /// How many hops it had left, if the system tells.
    pub(super) hop_limit: Option<u8>,
}

impl IcmpSocket {
    /// The first kind of socket that this process may have.
    pub(super) fn open(options: Options) -> Result<Self, SocketError> {
        let denied = |errno| matches!(errno, Errno::EACCES | Errno::EPERM);
        let (fd, is_raw) = match new_socket(options.protocol, SockType::Datagram) {
            Ok(fd) => (fd, false),
            // Not allowed, or an old kernel.
            Err(_) => match new_socket(options.protocol, SockType::Raw) {
                Ok(fd) => (fd, true),
                Err(errno) if denied(errno) => return Err(SocketError::Permission),
                Err(errno) => return Err(SocketError::Unsupported(errno)),
            },
        };
        set_up(&fd, options, is_raw).map_err(SocketError::Setup)?;
        let fd = UdpSocket::from_std(fd.into()).map_err(SocketError::Setup)?;
        Ok(Self { fd, protocol: options.protocol, is_raw })
    }

    /// Whether it sees all of ICMP; else only replies to its own requests, whose ids the kernel chooses.
    pub(super) fn is_raw(&self) -> bool {
        self.is_raw
    }

    /// Sends a message.
    pub(super) async fn send(&self, message: &[u8], to: SocketAddr) -> io::Result<()> {
        let to = SockaddrStorage::from(to);
        let send = || Ok(sendto(self.fd.as_raw_fd(), message, &to, MsgFlags::empty())?);
        self.fd.async_io(Interest::WRITABLE, send).await.map(drop)
    }

    /// What happens next. `buffer` is where packets are read into; see [`Self::buffer`].
    pub(super) async fn next(&self, buffer: &mut [u8]) -> io::Result<Event> {
        let interest = Interest::READABLE | Interest::ERROR;
        let read = || match receive_now(&self.fd, buffer) {
            Ok(received) => Ok(Event::Message(self.unpack(received))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            Err(error) => complaint(&self.fd).ok_or(error),
        };
        self.fd.async_io(interest, read).await
    }

    /// A buffer for any packet.
    pub(super) fn buffer() -> Vec<u8> {
        vec![0; MAX_PACKET_BYTES]
    }

    /// Raw sockets of IPv4, and no others, give packets with their header.
    fn unpack(&self, mut received: Received) -> Received {
        if self.is_raw && self.protocol == IpProtocol::Ip4 {
            let (message, hop_limit) = strip_ipv4_header(&received.message)
                .map_or((Vec::new(), None), |(message, hops)| (message.to_vec(), Some(hops)));
            received.message = message;
            received.hop_limit = hop_limit;
        }
        received
    }
}

fn new_socket(protocol: IpProtocol, kind: SockType) -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    match protocol {
        IpProtocol::Ip4 => socket(AddressFamily::Inet, kind, flags, SockProtocol::Icmp),
        IpProtocol::Ip6 => socket(AddressFamily::Inet6, kind, flags, SockProtocol::IcmpV6),
    }
}

fn set_up(fd: &OwnedFd, options: Options, is_raw: bool) -> io::Result<()> {
    let ttl = options.ttl.map(|ttl| i32::from(ttl.get()));
    match options.protocol {
        IpProtocol::Ip4 => {
            setsockopt(fd, sockopt::Ipv4RecvTtl, &true)?;
            if !is_raw {
                // What others say of the request arrives as an error of the socket, with details in a queue.
                setsockopt(fd, sockopt::Ipv4RecvErr, &true)?;
            }
            if let Some(ttl) = ttl {
                setsockopt(fd, sockopt::Ipv4Ttl, &ttl)?;
            }
            if options.dont_fragment {
                set_ip_mtu_discover(fd, Ipv4PathMtuDiscovery::DO)?;
            }
        }
        IpProtocol::Ip6 => {
            setsockopt(fd, sockopt::Ipv6RecvHopLimit, &true)?;
            if !is_raw {
                setsockopt(fd, sockopt::Ipv6RecvErr, &true)?;
            }
            if let Some(ttl) = ttl {
                setsockopt(fd, sockopt::Ipv6Ttl, &ttl)?;
            }
        }
    }
    if let Some(source) = options.source {
        bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(source, 0)))?;
    }
    Ok(())
}

fn receive_now(fd: &impl AsRawFd, buffer: &mut [u8]) -> io::Result<Received> {
    let mut control = nix::cmsg_space!(i32, i32);
    let mut pieces = [IoSliceMut::new(buffer)];
    let received =
        recvmsg::<SockaddrStorage>(fd.as_raw_fd(), &mut pieces, Some(&mut control), MsgFlags::empty())?;
    let from = received.address.and_then(|address| {
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::from(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::from(address.ip())))
    });
    let hop_limit = received.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::Ipv4Ttl(hops) | ControlMessageOwned::Ipv6HopLimit(hops) => {
            u8::try_from(hops).ok()
        }
        _ => None,
    });
    let length = received.bytes;
    Ok(Received { from, message: buffer[..length].to_vec(), hop_limit })
}

/// What lies in the socket's queue of errors, if it came as a message of ICMP.
fn complaint(fd: &impl AsRawFd) -> Option<Event> {
    let mut control = nix::cmsg_space!(i32, libc::sock_extended_err, libc::sockaddr_in6);
    let received =
        recvmsg::<SockaddrStorage>(fd.as_raw_fd(), &mut [], Some(&mut control), MsgFlags::MSG_ERRQUEUE)
            .ok()?;
    let (error, from) = received.cmsgs().ok()?.find_map(|message| match message {
        ControlMessageOwned::Ipv4RecvErr(error, from) => {
            Some((error, from.map(|from| Ipv4Addr::from_bits(u32::from_be(from.sin_addr.s_addr)).into())))
        }
        ControlMessageOwned::Ipv6RecvErr(error, from) => {
            Some((error, from.map(|from| Ipv6Addr::from(from.sin6_addr.s6_addr).into())))
        }
        _ => None,
    })?;
    let is_icmp = matches!(error.ee_origin, libc::SO_EE_ORIGIN_ICMP | libc::SO_EE_ORIGIN_ICMP6);
    is_icmp.then_some(Event::Complaint { kind: error.ee_type, code: error.ee_code, from })
}
