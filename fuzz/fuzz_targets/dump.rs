//! Any driver message is decoded or refused without a panic, as base64 and as the XML inside it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use market_core::action::{CopyAction, DeleteAction, ExportAction, ImportAction, ImportInfo, MonitorAction};
use market_core::encoding::encode;
use market_core::report::{DiscoveredApp, MonitorReport};

fuzz_target!(|bytes: &[u8]| {
    for dump in [bytes.to_vec(), encode(bytes).into_bytes()] {
        let _ = MonitorAction::decode(&dump);
        let _ = ImportAction::decode(&dump);
        let _ = DeleteAction::decode(&dump);
        let _ = ExportAction::decode(&dump);
        let _ = CopyAction::decode(&dump);
        let _ = DiscoveredApp::read(&dump);
    }
    let _ = MonitorReport::read(bytes);
    let _ = std::str::from_utf8(bytes).map(ImportInfo::read);
});
