//! What the root of a host may not do to the machine.

use std::io;

use caps::{CapSet, Capability};

/// Kernel modules, reboot, raw hardware and the clock are the machine's alone.
const DROPPED: [Capability; 4] = [
    Capability::CAP_SYS_MODULE,
    Capability::CAP_SYS_BOOT,
    Capability::CAP_SYS_RAWIO,
    Capability::CAP_SYS_TIME,
];

/// Drops them from every set of this process and, through the bounding set, from all that it will ever start.
pub(super) fn drop_unneeded() -> io::Result<()> {
    netns::sys::refuse_block_devices()?;
    for capability in DROPPED {
        // The bounding set first: without CAP_SETPCAP in effect it could not be changed.
        for set in [CapSet::Bounding, CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
            caps::drop(None, set, capability).map_err(io::Error::other)?;
        }
    }
    Ok(())
}
