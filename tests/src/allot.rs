//! A share of the machine for each test, so that tests and other instances on the same engine never meet:
//! an instance name, a port range, a uid range and a subnet pool.

use std::fs::{self, File};
use std::ops::RangeInclusive;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

const SLOTS: u16 = 40;
const PORTS_PER_SLOT: u16 = 200;
const UIDS_PER_SLOT: u32 = 1000;
/// Below the kernel's ephemeral ports (from 32768), above what services commonly use.
const FIRST_PORT: u16 = 23_000;
/// Beyond Bowline's own default range and beyond what Debian gives to rootless users.
const FIRST_UID: u32 = 1_950_000_000;

/// One slot of the machine, held while this value lives (and no longer than the process: the lock is the kernel's).
#[derive(Debug)]
pub struct Allotment {
    slot: u16,
    instance: String,
    _lock: File,
}

impl Allotment {
    /// Takes the first free slot.
    #[must_use]
    pub fn take() -> Self {
        let folder = Path::new("/tmp/bowline-tests");
        fs::create_dir_all(folder).expect("the folder of the slots");
        for slot in 0..SLOTS {
            let lock = File::create(folder.join(format!("slot-{slot}"))).expect("the lock file of a slot");
            if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
                // The process id keeps what an earlier, killed test left behind apart from what this one makes.
                let instance = format!("t{slot}-{:x}", std::process::id());
                return Self { slot, instance, _lock: lock };
            }
        }
        panic!("all {SLOTS} slots of /tmp/bowline-tests are taken");
    }

    /// The name of the instance: a DNS label that no other test has.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// The host ports that this test may use.
    #[must_use]
    pub fn ports(&self) -> RangeInclusive<u16> {
        let first = FIRST_PORT + self.slot * PORTS_PER_SLOT;
        first..=first + (PORTS_PER_SLOT - 1)
    }

    /// The uids that this test may lease.
    #[must_use]
    pub fn uids(&self) -> RangeInclusive<u32> {
        let first = FIRST_UID + u32::from(self.slot) * UIDS_PER_SLOT;
        first..=first + (UIDS_PER_SLOT - 1)
    }

    /// A /20, room for 64 networks of 62 hosts, out of 10.224.0.0/14.
    #[must_use]
    pub fn subnets(&self) -> String {
        let third = u32::from(self.slot) * 16;
        format!("10.{}.{}.0/20", 224 + third / 256, third % 256)
    }

    /// A subnet (/28) of this slot that is not in [`Self::subnets`], for networks that the test itself makes.
    #[must_use]
    pub fn foreign_subnet(&self, number: u8) -> String {
        assert!(number < 128, "128 subnets are set aside for each slot");
        let third = u32::from(self.slot) * 8 + u32::from(number) / 16;
        format!("10.{}.{}.{}/28", 228 + third / 256, third % 256, u32::from(number) % 16 * 16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_tests_never_share_anything() {
        let (a, b) = (Allotment::take(), Allotment::take());
        assert_ne!(a.instance(), b.instance());
        assert!(!a.ports().any(|port| b.ports().contains(&port)));
        assert!(!a.uids().any(|uid| b.uids().contains(&uid)));
        assert_ne!(a.subnets(), b.subnets());
        assert_ne!(a.foreign_subnet(0), b.foreign_subnet(0));
    }

    #[test]
    fn a_slot_is_free_again_when_its_test_has_ended() {
        let first = Allotment::take();
        let slot = first.slot;
        drop(first);
        // Other processes may take slots meanwhile, but never all of them.
        assert!((0..SLOTS).any(|_| Allotment::take().slot <= slot));
    }

    #[test]
    fn the_last_slot_stays_within_its_ranges() {
        let lock = tempfile::tempfile().unwrap();
        let last = Allotment { slot: SLOTS - 1, instance: String::new(), _lock: lock };
        assert!(*last.ports().end() < 32_768);
        assert_eq!(last.subnets(), "10.226.112.0/20");
        assert_eq!(last.foreign_subnet(127), "10.229.63.240/28");
    }
}
