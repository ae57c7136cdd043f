//! The guide's descriptions of Xen virtual machines (`xm`, and `xl` after it), converted to VM
//! templates.
//!
//! The format is a handful of assignments of texts, numbers and lists in Python's spelling; nothing
//! is evaluated.

use super::attributes::{Attributes, Value};
use market_core::error::{Error, ErrorKind};

/// The template, and what of the description has no place in it.
#[derive(Debug)]
pub(super) struct Converted {
    pub(super) template: Vec<u8>,
    pub(super) left_out: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Given {
    Text(String),
    List(Vec<String>),
}

/// Converts a description; `image` stands for its first disk, `name` for the file in messages.
pub(super) fn convert(text: &str, image: Option<&str>, name: &str) -> Result<Converted, Error> {
    let given = parse(text).map_err(|cause| Error::new(ErrorKind::Config, name, cause))?;
    let mut vm = Attributes::default();
    let mut left_out = Vec::new();
    let (mut disks, mut nics, mut os) = (Vec::new(), Vec::new(), Vec::new());
    let mut kernel_line: Vec<String> = Vec::new();
    for (line, key, value) in given {
        let at = |what: &str| format!("line {line}: {what}");
        match (key.as_str(), value) {
            ("name", Given::Text(text)) => vm.set("NAME", Value::Single(text)),
            ("memory", Given::Text(mib)) if is_number(&mib) => vm.set("MEMORY", Value::Single(mib)),
            ("memory", _) => {
                return Err(Error::new(ErrorKind::Config, name, at("memory is no number of MiB")));
            }
            ("vcpus", Given::Text(count)) if is_number(&count) => {
                vm.set("VCPU", Value::Single(count));
            }
            ("disk", Given::List(specs)) => {
                if specs.len() > usize::from(image.is_some()) {
                    left_out.push(at("disks named by SOURCE do not start: \
                         register them with oneimage, name them by IMAGE"));
                }
                for spec in specs {
                    let alias = image.filter(|_| disks.is_empty());
                    let found = disk(&spec, alias);
                    disks.push(found.ok_or_else(|| {
                        Error::new(ErrorKind::Config, name, at(&format!("{spec:?} is no disk")))
                    })?);
                }
            }
            ("vif", Given::List(specs)) => {
                for spec in specs {
                    let (pairs, unknown) = nic(&spec);
                    left_out.extend(
                        unknown.into_iter().map(|key| at(&format!("{key} of a vif is left out"))),
                    );
                    if pairs.is_empty() {
                        left_out.push(at(
                            "a vif that names no bridge is left out: add a NIC with the network",
                        ));
                    } else {
                        nics.push(pairs);
                    }
                }
            }
            ("kernel", Given::Text(path)) => os.push(("KERNEL".to_owned(), path)),
            ("ramdisk", Given::Text(path)) => os.push(("INITRD".to_owned(), path)),
            ("bootloader", Given::Text(path)) => os.push(("BOOTLOADER".to_owned(), path)),
            ("root", Given::Text(text)) => {
                // The driver writes the directory before it; options behind it are the kernel's.
                let (device, options) = text.split_once(' ').unwrap_or((&text, ""));
                os.push((
                    "ROOT".to_owned(),
                    device.strip_prefix("/dev/").unwrap_or(device).to_owned(),
                ));
                kernel_line.insert(0, options.trim().to_owned());
            }
            ("extra", Given::Text(line)) => kernel_line.push(line),
            (key, _) => left_out.push(at(&format!("{key} is left out"))),
        }
    }
    kernel_line.retain(|part| !part.is_empty());
    if !kernel_line.is_empty() {
        os.push(("KERNEL_CMD".to_owned(), kernel_line.join(" ")));
    }
    if !vm.0.iter().any(|(name, _)| name == "MEMORY") {
        return Err(Error::new(ErrorKind::Config, name, "says nothing of memory"));
    }
    vm.set("CPU", Value::Single("1".to_owned()));
    if !disks.is_empty() {
        vm.set("DISK", Value::Vectors(disks));
    }
    if !nics.is_empty() {
        vm.set("NIC", Value::Vectors(nics));
    }
    if !os.is_empty() {
        vm.set("OS", Value::Vector(os));
    }
    vm.set(
        "CONTEXT",
        Value::vector(&[("NETWORK", "YES"), ("SSH_PUBLIC_KEY", "$USER[SSH_PUBLIC_KEY]")]),
    );
    Ok(Converted { template: vm.write()?, left_out })
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `file:PATH,xvda,w` of `xm`, or `PATH,format,xvda,rw` of `xl`, which may leave the last ones out,
/// and its pairs.
fn disk(spec: &str, image: Option<&str>) -> Option<Vec<(String, String)>> {
    const PREFIXES: [&str; 8] =
        ["file:", "phy:", "tap:aio:", "tap2:aio:", "tap:qcow2:", "tap:qcow:", "tap2:", "tap:"];
    const FORMATS: [&str; 6] = ["raw", "qcow", "qcow2", "vhd", "qed", ""];
    let fields: Vec<&str> = spec.split(',').map(str::trim).collect();
    let pair =
        |name: &str| fields.iter().find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
    let plain: Vec<&str> = fields.iter().filter(|field| !field.contains('=')).copied().collect();
    let is_xl = plain.get(1).is_none_or(|second| FORMATS.contains(second));
    let at = |index: usize| plain.get(index).copied();
    let (path, target, access) = if is_xl { (at(0), at(2), at(3)) } else { (at(0), at(1), at(2)) };
    let path = pair("target").or(path)?;
    let target = pair("vdev").or(target)?;
    let access = pair("access").or(access).unwrap_or("rw");
    let path = PREFIXES.iter().find_map(|prefix| path.strip_prefix(prefix)).unwrap_or(path);
    let target = target.strip_prefix("ioemu:").unwrap_or(target);
    let (target, what) = target.split_once(':').unwrap_or((target, ""));
    let is_device = ["xvd", "hd", "sd", "vd"].iter().any(|prefix| {
        let rest = target.strip_prefix(prefix).unwrap_or_default();
        !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
    });
    if path.is_empty() || !is_device {
        return None;
    }
    let read_only =
        matches!(access, "r" | "ro" | "cdrom") || what == "cdrom" || plain.contains(&"cdrom");
    let (name, value) = image.map_or(("SOURCE", path), |image| ("IMAGE", image));
    let pairs =
        [(name, value), ("TARGET", target), ("READONLY", if read_only { "YES" } else { "NO" })];
    Some(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec())
}

/// `bridge=BRIDGE,mac=...`; what has no place in a NIC comes back by its name. A script of Xen's
/// host is none of KVM's.
fn nic(spec: &str) -> (Vec<(String, String)>, Vec<String>) {
    let (mut pairs, mut unknown) = (Vec::new(), Vec::new());
    for field in spec.split(',').map(str::trim).filter(|field| !field.is_empty()) {
        let (key, value) = field.split_once('=').unwrap_or((field, ""));
        match key.trim() {
            key @ ("bridge" | "mac" | "ip" | "model") if !value.trim().is_empty() => {
                pairs.push((key.to_uppercase(), value.trim().to_owned()));
            }
            key => unknown.push(key.to_owned()),
        }
    }
    (pairs, unknown)
}

/// The assignments with their lines.
fn parse(text: &str) -> Result<Vec<(usize, String, Given)>, String> {
    let mut given = Vec::new();
    let mut lines = text.lines().zip(1..);
    while let Some((line, number)) = lines.next() {
        let statement = without_comment(line);
        if statement.trim().is_empty() {
            continue;
        }
        let at = |what: &str| format!("line {number}: {what}");
        let (key, value) = statement.split_once('=').ok_or_else(|| at("is no assignment"))?;
        let mut value = value.trim().to_owned();
        // A list may go on for some lines.
        while value.starts_with('[') && !value.ends_with(']') {
            let (next, _) = lines.next().ok_or_else(|| at("the list has no end"))?;
            value.push(' ');
            value.push_str(without_comment(next).trim());
        }
        let value = match value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(items) => Given::List(list(items).ok_or_else(|| at("the list makes no sense"))?),
            None => Given::Text(scalar(&value).ok_or_else(|| at("the value makes no sense"))?),
        };
        given.push((number, key.trim().to_lowercase(), value));
    }
    Ok(given)
}

fn without_comment(line: &str) -> &str {
    let mut quote = None;
    for (index, c) in line.char_indices() {
        match (quote, c) {
            (None, '#') => return &line[..index],
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            _ => {}
        }
    }
    line
}

fn scalar(text: &str) -> Option<String> {
    for quote in ['"', '\''] {
        if let Some(rest) = text.strip_prefix(quote) {
            return rest
                .strip_suffix(quote)
                .filter(|inner| !inner.contains(quote))
                .map(str::to_owned);
        }
    }
    let plain = !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    plain.then(|| text.to_owned())
}

/// Quoted texts with commas between them.
fn list(mut rest: &str) -> Option<Vec<String>> {
    let mut items = Vec::new();
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
        let Some(quote) = rest.chars().next() else { return Some(items) };
        if !matches!(quote, '"' | '\'') {
            return None;
        }
        let (item, behind) = rest[1..].split_once(quote)?;
        items.push(item.to_owned());
        rest = behind;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;
    use market_core::template::Template;

    const INSTALLATION: &str = "name = \"ubuntu\"\n \nmemory = 256\n \ndisk = ['file:/images/ubuntu.img,xvda,w']\n\
                                vif = ['bridge=br0']\n \nkernel = \"/boot/vmlinuz\"\nramdisk = \"/boot/initrd.gz\"\n";

    fn value(template: &Template, name: &str, key: &str) -> String {
        String::from_utf8_lossy(template.get(name).unwrap().key(key).unwrap()).into_owned()
    }

    #[test]
    fn the_guides_descriptions_become_templates() {
        let converted = convert(INSTALLATION, None, "ubuntu.xen").unwrap();
        let vm = Template::parse(&converted.template).unwrap();
        assert_eq!(vm.text("NAME").unwrap(), Some("ubuntu"));
        assert_eq!(vm.text("MEMORY").unwrap(), Some("256"));
        assert_eq!(value(&vm, "DISK", "SOURCE"), "/images/ubuntu.img");
        assert_eq!(value(&vm, "DISK", "TARGET"), "xvda");
        assert_eq!(value(&vm, "DISK", "READONLY"), "NO");
        assert_eq!(value(&vm, "NIC", "BRIDGE"), "br0");
        assert_eq!(value(&vm, "OS", "KERNEL"), "/boot/vmlinuz");
        assert_eq!(value(&vm, "OS", "INITRD"), "/boot/initrd.gz");
        assert_eq!(value(&vm, "CONTEXT", "SSH_PUBLIC_KEY"), "$USER[SSH_PUBLIC_KEY]");
        assert!(
            converted.left_out.len() == 1 && converted.left_out[0].contains("oneimage"),
            "{:?}",
            converted.left_out
        );
    }

    #[test]
    fn the_finished_image_starts_by_its_own_boot_loader() {
        let text = "name='u'\nmemory = 512 # MiB\ndisk = [\n 'file:/u.img,xvda,w',\n 'phy:/dev/b,xvdb:disk,r' ]\nbootloader = \"pygrub\"\non_crash = 'restart'\n";
        let converted = convert(text, Some("Ubuntu"), "u.xen").unwrap();
        let vm = Template::parse(&converted.template).unwrap();
        assert_eq!(value(&vm, "OS", "BOOTLOADER"), "pygrub");
        let disks: Vec<_> = vm.get_all("DISK").collect();
        assert_eq!(disks[0].key("IMAGE"), Some(&b"Ubuntu"[..]));
        assert_eq!(disks[1].key("SOURCE"), Some(&b"/dev/b"[..]));
        assert_eq!(disks[1].key("READONLY"), Some(&b"YES"[..]));
        assert_eq!(converted.left_out.last().unwrap(), "line 7: on_crash is left out");
    }

    #[test]
    fn what_is_no_description_is_refused_with_its_line() {
        for (text, part) in [
            ("memory = 1\nimport os\n", "line 2"),
            ("memory = os.system('x')\n", "line 1"),
            ("memory = 1\ndisk = ['x'\n", "no end"),
            ("memory = 1\ndisk = ['x']\n", "is no disk"),
            ("name = 'x'\n", "memory"),
        ] {
            let error = convert(text, None, "x").unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn disks_of_both_tools_are_told_apart() {
        let of = |spec: &str| {
            disk(spec, None).map(|pairs| {
                pairs.into_iter().map(|(_, value)| value).collect::<Vec<_>>().join(" ")
            })
        };
        for (spec, expected) in [
            ("file:/i/u.img,xvda,w", "/i/u.img xvda NO"),
            ("phy:/dev/x,ioemu:hda,w", "/dev/x hda NO"),
            ("tap:qcow:/i/u,hda:disk,r", "/i/u hda YES"),
            ("/i/u.img,qcow2,xvda", "/i/u.img xvda NO"),
            ("/dev/vg/g,,hda", "/dev/vg/g hda NO"),
            ("/i/a.iso,raw,hdc,cdrom", "/i/a.iso hdc YES"),
            ("format=raw, vdev=xvdb, access=ro, target=/i/b", "/i/b xvdb YES"),
        ] {
            assert_eq!(of(spec).as_deref(), Some(expected), "{spec}");
        }
        for spec in ["", "x", "/i/u.img,raw,qcow2,rw", "file:,xvda,w"] {
            assert_eq!(of(spec), None, "{spec}");
        }
    }

    #[test]
    fn a_root_is_a_device_and_options_of_the_kernel() {
        let text = "memory = 1\nroot = \"/dev/xvda1 ro\"\nextra = \"quiet\"\nvif = ['']\n";
        let converted = convert(text, None, "x").unwrap();
        let vm = Template::parse(&converted.template).unwrap();
        assert_eq!(
            (value(&vm, "OS", "ROOT"), value(&vm, "OS", "KERNEL_CMD")),
            ("xvda1".to_owned(), "ro quiet".to_owned())
        );
        assert!(vm.get("NIC").is_none() && converted.left_out[0].contains("vif"));
    }
}
