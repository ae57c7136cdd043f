//! The space of a file system.

use market_core::model::MiB;
use market_core::report::MonitorReport;

/// What a file system tells of its space, as `statvfs` has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Space {
    /// The size of a block, in bytes.
    pub(crate) block_bytes: u64,
    /// How many blocks there are.
    pub(crate) blocks: u64,
    /// How many of them are free.
    pub(crate) free: u64,
    /// How many of the free ones users other than root may take.
    pub(crate) available: u64,
}

impl Space {
    /// The bytes that can still be stored.
    pub(crate) fn available_bytes(self) -> u64 {
        self.available.saturating_mul(self.block_bytes)
    }

    /// The report of a monitor: everything on the file system counts as used.
    pub(crate) fn report(self) -> MonitorReport {
        let bytes = |blocks: u64| blocks.saturating_mul(self.block_bytes);
        MonitorReport::of_space(
            MiB::containing(bytes(self.blocks.saturating_sub(self.free))),
            MiB::within(bytes(self.available)),
            MiB::containing(bytes(self.blocks)),
        )
    }
}
