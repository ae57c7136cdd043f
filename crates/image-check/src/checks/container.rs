//! The image file itself.

use super::{Answer, Subject, Verdict};
use crate::container::{Format, ReferenceRole};
use crate::qcow2::Header;
use crate::repair::Repair;
use crate::tree::{Unavailable, shown};
use market_checksum::Mismatch;

const MIB: u64 = 1 << 20;
/// Zeros that are worth a word: a tenth of what is stored, and not less than this.
const WORTH_BYTES: u64 = MIB;

pub(super) fn format_known(subject: &Subject<'_>) -> Answer {
    let looked = subject.looked;
    if let Some(packing) = looked.packing {
        return Verdict::bad(
            format!("the file is packed with {packing}"),
            [Repair::ByHand("unpack it")],
        );
    }
    match (looked.container.format, &looked.layout) {
        (Format::Qcow2, _) => Verdict::good("qcow2"),
        (Format::Raw, Ok(layout)) if layout.is_known() => Verdict::good("raw"),
        (Format::Raw, Ok(_)) => Verdict::bad(
            "neither a known format, nor a raw disk: there is no partition table and no file system at its beginning",
            [Repair::ByHand("find out what the file is")],
        ),
        (Format::Raw, Err(reason)) => Err(Unavailable(reason.clone())),
        (format, _) => Verdict::bad(format!("the image is {format}"), [convert(subject)]),
    }
}

pub(super) fn format_as_declared(subject: &Subject<'_>) -> Answer {
    let Some(declared) = &subject.declared.format else { return Err(undeclared("format")) };
    let found = subject.looked.container.format;
    if declared.eq_ignore_ascii_case(found.name()) {
        Verdict::good(format!("{found}, as declared"))
    } else {
        let declared = shown(declared.as_bytes());
        Verdict::bad(
            format!("declared as {declared}, and is {found}"),
            [Repair::ByHand("correct what declares it")],
        )
    }
}

/// Copying such an image copies the other file into it, whichever file of this host that is.
const SELF_CONTAINED: Repair = Repair::ByHand(
    "get an image that holds all of its data; never convert or open one of a stranger that names other files",
);

/// The image anew; never one that names another file, which would be copied into it.
fn convert(subject: &Subject<'_>) -> Repair {
    if subject.looked.refers() {
        SELF_CONTAINED
    } else {
        Repair::Convert(subject.looked.container.format)
    }
}

fn undeclared(what: &str) -> Unavailable {
    Unavailable(format!("no {what} was declared"))
}

/// The header of a qcow2 image; `None` for other formats.
fn header<'a>(subject: &'a Subject<'_>) -> Result<Option<&'a Header>, Unavailable> {
    subject
        .looked
        .header
        .as_ref()
        .map(Result::as_ref)
        .transpose()
        .map_err(|flaw| Unavailable(flaw.clone()))
}

fn reference(subject: &Subject<'_>, role: ReferenceRole) -> Answer {
    match &subject.looked.container.reference {
        Some(reference) if reference.role == role => {
            let name = reference
                .name
                .as_ref()
                .map_or_else(String::new, |name| format!(" {}", shown(name.as_bytes())));
            Verdict::bad(format!("the image needs the {role}{name}"), [SELF_CONTAINED])
        }
        _ => readable(subject).and_then(|()| Verdict::good("none")),
    }
}

/// Of other formats only what is found counts.
fn readable(subject: &Subject<'_>) -> Result<(), Unavailable> {
    match subject.looked.container.format {
        Format::Raw | Format::Qcow2 => Ok(()),
        format => Err(Unavailable(format!("{format} is not read here"))),
    }
}

pub(super) fn no_backing_file(subject: &Subject<'_>) -> Answer {
    reference(subject, ReferenceRole::BackingFile)
}

pub(super) fn no_external_data_file(subject: &Subject<'_>) -> Answer {
    match reference(subject, ReferenceRole::ExternalDataFile)? {
        // A backing file is named too, and hides it in the first look.
        Verdict::Good(_)
            if header(subject).is_ok_and(|header| header.is_some_and(Header::external_data)) =>
        {
            Verdict::bad("the image needs an external data file", [SELF_CONTAINED])
        }
        verdict => Ok(verdict),
    }
}

pub(super) fn not_encrypted(subject: &Subject<'_>) -> Answer {
    const DECRYPT: [Repair; 1] = [Repair::ByHand("decrypt it with qemu-img convert and its key")];
    match header(subject)? {
        _ if subject.looked.container.format == Format::Luks => {
            Verdict::bad("the whole image is encrypted (LUKS)", DECRYPT)
        }
        Some(header) if header.encryption != 0 => {
            let method = if header.encryption == 2 { "LUKS" } else { "AES" };
            Verdict::bad(format!("the image is encrypted ({method})"), DECRYPT)
        }
        _ => readable(subject).and_then(|()| Verdict::good("not encrypted")),
    }
}

pub(super) fn not_corrupt(subject: &Subject<'_>) -> Answer {
    const CHECK: Repair = Repair::Image("qemu-img check -r all \"$image\"");
    let header = match &subject.looked.header {
        Some(Ok(header)) => Some(header),
        Some(Err(flaw)) => {
            return Verdict::bad(flaw.clone(), [Repair::ByHand("get the image anew")]);
        }
        None => None,
    };
    if let Some(marked) = header.and_then(Header::marked) {
        return Verdict::bad(marked, [CHECK]);
    }
    if header.is_none() && subject.looked.container.format != Format::Raw {
        return Err(Unavailable(format!("{} is not read here", subject.looked.container.format)));
    }
    match &subject.looked.tables {
        Ok(Some(Ok(examined))) => {
            let (data, compressed) = (examined.data_clusters, examined.compressed_clusters);
            Verdict::good(format!(
                "all tables are sound ({data} plain and {compressed} compressed clusters)"
            ))
        }
        Ok(Some(Err(flaw))) => {
            let repair = if flaw.contains("cut short") {
                Repair::ByHand("get the image anew")
            } else {
                CHECK
            };
            Verdict::bad(flaw.clone(), [repair])
        }
        Ok(None) => Verdict::good("a raw image has nothing that could be"),
        Err(reason) => Err(Unavailable(reason.clone())),
    }
}

pub(super) fn no_internal_snapshots(subject: &Subject<'_>) -> Answer {
    match header(subject)? {
        Some(header) if header.snapshots > 0 => {
            Verdict::bad(format!("{} snapshots in the image", header.snapshots), [convert(subject)])
        }
        _ => readable(subject).and_then(|()| Verdict::good("none")),
    }
}

pub(super) fn sparse(subject: &Subject<'_>) -> Answer {
    let stored = subject.looked.stored.as_ref().map_err(|reason| Unavailable(reason.clone()))?;
    let text =
        format!("{} of {} stored MiB are zeros", stored.zero_bytes / MIB, stored.bytes / MIB);
    if stored.zero_bytes > WORTH_BYTES && stored.zero_bytes > stored.bytes / 10 {
        Verdict::bad(text, [convert(subject)])
    } else {
        Verdict::good(text)
    }
}

pub(super) fn size_whole_mib(subject: &Subject<'_>) -> Answer {
    let bytes = virtual_bytes(subject)?;
    if bytes % MIB == 0 {
        Verdict::good(format!("{} MiB", bytes / MIB))
    } else {
        let found = format!("{bytes} bytes are {} MiB and {} bytes", bytes / MIB, bytes % MIB);
        Verdict::bad(
            found,
            [Repair::ByHand("marketctl image prepare makes the disk as large as the next MiB")],
        )
    }
}

fn virtual_bytes(subject: &Subject<'_>) -> Result<u64, Unavailable> {
    header(subject)?;
    let unknown = || match subject.looked.container.format {
        Format::Raw => Unavailable("the length of a raw image is not in its beginning".to_owned()),
        format => Unavailable(format!("{format} is not read here")),
    };
    subject.looked.virtual_bytes().ok_or_else(unknown)
}

pub(super) fn checksum_as_declared(subject: &Subject<'_>) -> Answer {
    let declared = subject.declared;
    if !declared.has_checksum() {
        return Err(undeclared("checksum"));
    }
    let Some(computed) = subject.checksums else {
        return Err(Unavailable("no checksum was computed".to_owned()));
    };
    let expected = declared.checksums();
    match expected.verify(computed) {
        Ok(()) => {
            let names: Vec<_> = expected.digests().iter().map(|one| one.to_string()).collect();
            Verdict::good(format!("{} as declared", names.join(" and ")))
        }
        Err(Mismatch { computed: None, expected, .. }) => {
            Err(Unavailable(format!("the {} was not computed", expected.algorithm())))
        }
        Err(differs) => Verdict::bad(
            differs.to_string(),
            [Repair::ByHand("get the image anew, or correct what declares it")],
        ),
    }
}

pub(super) fn size_as_declared(subject: &Subject<'_>) -> Answer {
    let (declared, unit, found) = match (subject.declared.virtual_bytes, subject.declared.size_mib)
    {
        (Some(bytes), _) => (bytes, "bytes", virtual_bytes(subject)?),
        (None, Some(mib)) => (mib, "MiB", virtual_bytes(subject)?.div_ceil(MIB)),
        (None, None) => return Err(undeclared("size")),
    };
    if declared == found {
        Verdict::good(format!("{found} {unit}, as declared"))
    } else {
        let found = format!("the disk has {found} {unit}, {declared} were declared");
        Verdict::bad(found, [Repair::ByHand("correct what declares it")])
    }
}
