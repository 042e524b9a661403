//! A loopback device that answers, in a network namespace of one's own.

use std::io;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, netlink, recv, sendto, socket};

/// Number of the loopback device in every network namespace.
const LOOPBACK: i32 = 1;
const RTM_NEWLINK: u16 = 16;
const NLMSG_ERROR: u16 = 2;
/// `NLM_F_REQUEST | NLM_F_ACK`
const REQUEST_AND_ANSWER: u16 = 1 | 4;
const IFF_UP: u32 = 1;

/// Brings the loopback device up (rtnetlink(7)).
pub(super) fn bring_up() -> io::Result<()> {
    // The first protocol of the family is that of addresses, routes and devices.
    let socket = socket(AddressFamily::NETLINK, SocketType::RAW, None)?;
    let kernel = netlink::SocketAddrNetlink::new(0, 0);
    sendto(&socket, &message(), SendFlags::empty(), &kernel)?;
    let mut answer = [0; 64];
    let (len, _) = recv(&socket, &mut answer[..], RecvFlags::empty())?;
    let field = |at: usize| answer.get(at..at + 4).filter(|_| at + 4 <= len);
    let kind = u16::from_ne_bytes([answer[4], answer[5]]);
    let number = field(16).and_then(|bytes| bytes.try_into().ok());
    match (kind, number.map(i32::from_ne_bytes)) {
        (NLMSG_ERROR, Some(0)) => Ok(()),
        (NLMSG_ERROR, Some(error)) => Err(io::Error::from_raw_os_error(-error)),
        _ => Err(io::Error::other("an unexpected answer of the kernel")),
    }
}

/// `nlmsghdr` and `ifinfomsg`.
fn message() -> Vec<u8> {
    let mut message = Vec::with_capacity(32);
    message.extend(32u32.to_ne_bytes());
    message.extend(RTM_NEWLINK.to_ne_bytes());
    message.extend(REQUEST_AND_ANSWER.to_ne_bytes());
    message.extend(1u32.to_ne_bytes());
    message.extend(0u32.to_ne_bytes());
    // Family and type: any.
    message.extend([0; 4]);
    message.extend(LOOPBACK.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    message
}
