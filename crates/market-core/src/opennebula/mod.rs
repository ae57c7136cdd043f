//! Facts of an OpenNebula front-end: where it keeps its files, which release it is, which release
//! series there are.

#[cfg(feature = "driver")]
mod helpers;
mod installation;

#[cfg(feature = "driver")]
pub use helpers::Helpers;
pub use installation::Installation;

/// The release series that these drivers and descriptions of apps are made for, oldest first.
pub const SERIES: [&str; 4] = ["6.10", "7.0", "7.2", "7.4"];

/// The newest of [`SERIES`].
pub const NEWEST_SERIES: &str = SERIES[SERIES.len() - 1];
