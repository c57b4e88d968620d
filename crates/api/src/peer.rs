//! Who is at the other end of the socket.
//!
//! In this version everybody who may speak is an admin: root, and the account that the service runs as.
//! Anybody else gets a clear refusal instead of a closed connection.

use tokio::net::UnixStream;

/// The user at the other end of a connection, as the kernel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    uid: Option<u32>,
}

impl Peer {
    /// Asks the kernel; a peer that it does not name is nobody.
    pub(crate) fn of(stream: &UnixStream) -> Self {
        Peer { uid: stream.peer_cred().ok().map(|credentials| credentials.uid()) }
    }

    /// Whether this peer may do everything, when the service runs as `service_uid`.
    pub(crate) fn is_admin(self, service_uid: u32) -> bool {
        self.uid.is_some_and(|uid| uid == 0 || uid == service_uid)
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.uid {
            Some(uid) => write!(f, "uid {uid}"),
            None => f.write_str("unknown uid"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_and_the_services_own_user_are_admins() {
        for (uid, admin) in [(Some(0), true), (Some(990), true), (Some(1000), false), (None, false)] {
            assert_eq!(Peer { uid }.is_admin(990), admin, "{uid:?}");
        }
    }
}
