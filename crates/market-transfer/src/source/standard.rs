//! The schemes that this crate brings.

use super::file::FileScheme;
use super::http::HttpScheme;
use super::rbd::RbdScheme;
use super::ssh::SshScheme;
use crate::Schemes;

impl Default for Schemes {
    fn default() -> Self {
        Self::none().with(FileScheme).with(HttpScheme).with(SshScheme).with(RbdScheme)
    }
}
