//! The image file itself.

use super::verdict::{CheckResult, Subject, Verdict};
use crate::container::{Format, ReferenceRole};
use crate::inspection::Tables;
use crate::qcow2::{Damage, Header};
use crate::repair::Repair;
use crate::text::printable;
use crate::unavailable::{SkipReason, Unavailable};
use market_checksum::Mismatch;

const MIB: u64 = 1 << 20;
/// As many stored zeros are no problem, however little else is stored.
const ZEROS_ALLOWED_BYTES: u64 = MIB;
/// One part of so many may be zeros.
const ZEROS_ALLOWED_PART: u64 = 10;

/// What helps when the file was damaged on its way.
const GET_ANEW: Repair = Repair::ByHand("get the image anew");
/// What helps when the declaration is wrong.
const CORRECT_DECLARATION: Repair = Repair::ByHand("correct what declares it");

pub(super) fn format_known(subject: &Subject<'_>) -> CheckResult {
    let inspection = subject.inspection;
    if let Some(packing) = inspection.packing {
        return Verdict::problem(
            format!("the file is packed with {packing}"),
            [Repair::ByHand("unpack it")],
        );
    }
    match (inspection.container.format, &inspection.layout) {
        (Format::Qcow2, _) => Verdict::pass("qcow2"),
        (Format::Raw, Ok(layout)) if layout.is_known() => Verdict::pass("raw"),
        (Format::Raw, Ok(_)) => Verdict::problem(
            "neither a known format, nor a raw disk: \
             there is no partition table and no file system at its beginning",
            [Repair::ByHand("find out what the file is")],
        ),
        (Format::Raw, Err(unavailable)) => Err(unavailable.clone()),
        (format, _) => Verdict::problem(format!("the image is {format}"), [convert(subject)]),
    }
}

pub(super) fn format_as_declared(subject: &Subject<'_>) -> CheckResult {
    let Some(declared) = &subject.declared.format else { return Err(undeclared("format")) };
    let found = subject.inspection.container.format;
    if declared.eq_ignore_ascii_case(found.name()) {
        return Verdict::pass(format!("{found}, as declared"));
    }
    let declared = printable(declared.as_bytes());
    Verdict::problem(format!("declared as {declared}, and is {found}"), [CORRECT_DECLARATION])
}

/// Copying an image that names another file copies that file into it, whichever file of this host
/// that is.
const SELF_CONTAINED: Repair = Repair::ByHand(
    "get an image that holds all of its data; \
     never convert or open one of a stranger that names other files",
);

/// The image written anew; never one that names another file, which would be copied into it.
fn convert(subject: &Subject<'_>) -> Repair {
    if subject.inspection.names_other_file() {
        SELF_CONTAINED
    } else {
        Repair::Convert(subject.inspection.container.format)
    }
}

fn undeclared(what: &str) -> Unavailable {
    Unavailable::new(SkipReason::NotDeclared, format!("no {what} was declared"))
}

fn not_read(format: Format) -> Unavailable {
    Unavailable::unsupported(format!("{format} is not read here"))
}

/// Fails for formats other than raw and qcow2: what is not found in them may be there.
fn readable(subject: &Subject<'_>) -> Result<(), Unavailable> {
    match subject.inspection.container.format {
        Format::Raw | Format::Qcow2 => Ok(()),
        format => Err(not_read(format)),
    }
}

/// The header of a qcow2 image; `None` for other formats.
fn header<'a>(subject: &'a Subject<'_>) -> Result<Option<&'a Header>, Unavailable> {
    let header = subject.inspection.header.as_ref().map(Result::as_ref);
    header.transpose().map_err(|damage| damage.clone().into())
}

fn reference(subject: &Subject<'_>, role: ReferenceRole) -> CheckResult {
    match &subject.inspection.container.reference {
        Some(reference) if reference.role == role => {
            let name = reference.name.as_ref();
            let name =
                name.map_or_else(String::new, |name| format!(" {}", printable(name.as_bytes())));
            Verdict::problem(format!("the image needs the {role}{name}"), [SELF_CONTAINED])
        }
        _ => readable(subject).and_then(|()| Verdict::pass("none")),
    }
}

pub(super) fn no_backing_file(subject: &Subject<'_>) -> CheckResult {
    reference(subject, ReferenceRole::BackingFile)
}

pub(super) fn no_external_data_file(subject: &Subject<'_>) -> CheckResult {
    let is_external = matches!(header(subject), Ok(Some(header)) if header.has_external_data());
    match reference(subject, ReferenceRole::ExternalDataFile)? {
        // The container names one file only: the backing file, where there are both.
        Verdict::Pass(_) if is_external => {
            Verdict::problem("the image needs an external data file", [SELF_CONTAINED])
        }
        verdict => Ok(verdict),
    }
}

pub(super) fn not_encrypted(subject: &Subject<'_>) -> CheckResult {
    const DECRYPT: [Repair; 1] = [Repair::ByHand("decrypt it with qemu-img convert and its key")];
    const LUKS: u32 = 2;
    match header(subject)? {
        _ if subject.inspection.container.format == Format::Luks => {
            Verdict::problem("the whole image is encrypted (LUKS)", DECRYPT)
        }
        Some(header) if header.encryption != 0 => {
            let method = if header.encryption == LUKS { "LUKS" } else { "AES" };
            Verdict::problem(format!("the image is encrypted ({method})"), DECRYPT)
        }
        _ => readable(subject).and_then(|()| Verdict::pass("not encrypted")),
    }
}

pub(super) fn not_corrupt(subject: &Subject<'_>) -> CheckResult {
    const CHECK: Repair = Repair::Image("qemu-img check -r all \"$image\"");
    let header = match &subject.inspection.header {
        Some(Ok(header)) => Some(header),
        Some(Err(damage)) => return Verdict::problem(damage.message(), [GET_ANEW]),
        None => None,
    };
    if let Some(mark) = header.and_then(Header::bad_mark) {
        return Verdict::problem(mark, [CHECK]);
    }
    if header.is_none() && subject.inspection.container.format != Format::Raw {
        return Err(not_read(subject.inspection.container.format));
    }
    match &subject.inspection.tables {
        Ok(Tables::Consistent(counts)) => Verdict::pass(format!(
            "all tables are consistent ({} plain and {} compressed clusters)",
            counts.plain, counts.compressed
        )),
        Ok(Tables::Damaged(damage)) => {
            let repair = match damage {
                Damage::Truncated(_) => GET_ANEW,
                Damage::Inconsistent(_) => CHECK,
            };
            Verdict::problem(damage.message(), [repair])
        }
        Ok(Tables::None) => Verdict::pass("a raw image has no tables"),
        Err(unavailable) => Err(unavailable.clone()),
    }
}

pub(super) fn no_internal_snapshots(subject: &Subject<'_>) -> CheckResult {
    match header(subject)? {
        Some(header) if header.snapshots > 0 => Verdict::problem(
            format!("{} snapshots in the image", header.snapshots),
            [convert(subject)],
        ),
        _ => readable(subject).and_then(|()| Verdict::pass("none")),
    }
}

pub(super) fn sparse(subject: &Subject<'_>) -> CheckResult {
    let stored = subject.inspection.stored.as_ref().map_err(Clone::clone)?;
    let text = format!("{} of {} stored MiB are zeros", stored.zeros / MIB, stored.all / MIB);
    if stored.zeros > ZEROS_ALLOWED_BYTES && stored.zeros > stored.all / ZEROS_ALLOWED_PART {
        Verdict::problem(text, [convert(subject)])
    } else {
        Verdict::pass(text)
    }
}

pub(super) fn size_whole_mib(subject: &Subject<'_>) -> CheckResult {
    let bytes = virtual_bytes(subject)?;
    if bytes.is_multiple_of(MIB) {
        return Verdict::pass(format!("{} MiB", bytes / MIB));
    }
    Verdict::problem(
        format!("{bytes} bytes are {} MiB and {} bytes", bytes / MIB, bytes % MIB),
        [Repair::ByHand("marketctl image prepare makes the disk as large as the next MiB")],
    )
}

fn virtual_bytes(subject: &Subject<'_>) -> Result<u64, Unavailable> {
    header(subject)?;
    subject.inspection.virtual_bytes().ok_or_else(|| match subject.inspection.container.format {
        Format::Raw => Unavailable::new(
            SkipReason::HeadOnly,
            "the length of a raw image is not in its beginning",
        ),
        format => not_read(format),
    })
}

pub(super) fn checksum_as_declared(subject: &Subject<'_>) -> CheckResult {
    let declared = subject.declared;
    if !declared.has_checksum() {
        return Err(undeclared("checksum"));
    }
    let not_computed = |message: String| Unavailable::new(SkipReason::NotDeclared, message);
    let Some(computed) = subject.checksums else {
        return Err(not_computed("no checksum was computed".to_owned()));
    };
    let expected = declared.checksums();
    match expected.verify(computed) {
        Ok(()) => {
            let names: Vec<_> = expected.digests().iter().map(|one| one.to_string()).collect();
            Verdict::pass(format!("{} as declared", names.join(" and ")))
        }
        Err(Mismatch { computed: None, expected, .. }) => {
            Err(not_computed(format!("the {} was not computed", expected.algorithm())))
        }
        Err(mismatch) => Verdict::problem(
            mismatch.to_string(),
            [Repair::ByHand("get the image anew, or correct what declares it")],
        ),
    }
}

pub(super) fn size_as_declared(subject: &Subject<'_>) -> CheckResult {
    let (declared, unit, found) = match (subject.declared.virtual_bytes, subject.declared.size_mib)
    {
        (Some(bytes), _) => (bytes, "bytes", virtual_bytes(subject)?),
        (None, Some(mib)) => (mib, "MiB", virtual_bytes(subject)?.div_ceil(MIB)),
        (None, None) => return Err(undeclared("size")),
    };
    if declared == found {
        return Verdict::pass(format!("{found} {unit}, as declared"));
    }
    Verdict::problem(
        format!("the disk has {found} {unit}, {declared} were declared"),
        [CORRECT_DECLARATION],
    )
}
