//! Ways in.

use super::ssh;
use super::{Answer, Subject, Verdict, repairs_for, some_of};
use crate::guest::{Account, Password};
use crate::repair::Repair;
use crate::tree::{Node, Tree, Unavailable, join, shown};
use std::collections::BTreeSet;

/// Accounts are people's from here on; the last ones are `nobody` by its various numbers.
const FIRST_USER: u64 = 1_000;
const NOBODY: [u64; 3] = [65_533, 65_534, 4_294_967_294];

pub(super) fn root_password(subject: &Subject<'_>) -> Answer {
    let accounts = subject.guest()?.accounts()?;
    let of_root: Vec<&Account> = accounts.iter().filter(|account| account.uid == 0).collect();
    let open: Vec<&Account> =
        of_root.iter().copied().filter(|account| account.password != Password::Locked).collect();
    match open.first() {
        Some(account) => {
            let name = shown(account.name.as_bytes());
            Verdict::bad(format!("{name} {}", what(account)), locks(&open))
        }
        None if of_root.is_empty() => Verdict::good("there is no root account"),
        None => Verdict::good("locked"),
    }
}

/// Locks accounts, each name once.
fn locks(accounts: &[&Account]) -> Vec<Repair> {
    const BY_HAND: Repair = Repair::ByHand(
        "write x into the second field of the line in /etc/passwd, and lock the account",
    );
    let by_hand = accounts.iter().any(|account| account.is_in_passwd).then_some(BY_HAND);
    let in_shadow = accounts
        .iter()
        .filter(|account| !account.is_in_passwd)
        .map(|account| account.name.as_str());
    let names: Vec<&str> = in_shadow.collect::<BTreeSet<_>>().into_iter().collect();
    let mut repairs = repairs_for(&names, |name| Repair::Lock((*name).to_owned()));
    repairs.extend(by_hand);
    repairs
}

fn what(account: &Account) -> &'static str {
    match account.password {
        Password::Empty => "needs no password at all",
        Password::Set => "has a password",
        Password::Locked => "is locked",
    }
}

pub(super) fn user_passwords(subject: &Subject<'_>) -> Answer {
    let accounts = subject.guest()?.accounts()?;
    let open: Vec<&Account> = accounts
        .iter()
        .filter(|account| account.uid != 0 && account.password != Password::Locked)
        .collect();
    let Some(first) = open.first() else { return Verdict::good("no account has a password") };
    let names: Vec<&str> = open.iter().map(|account| account.name.as_str()).collect();
    let found = match open.len() {
        1 => format!("{} {}", shown(first.name.as_bytes()), what(first)),
        _ => format!("{} can be entered with a password, or without", some_of(&names)),
    };
    Verdict::bad(found, locks(&open))
}

fn home_files(tree: &Tree, home: &str, directory: &str) -> Result<Vec<Vec<u8>>, Unavailable> {
    let directory = format!("{home}/{directory}");
    let mut files = Vec::new();
    for path in tree.paths(&directory, |_| true)? {
        if tree.node(&path)?.is_some_and(Node::is_file) {
            files.push(path);
        }
    }
    Ok(files)
}

/// The files in which sshd looks for the keys of accounts.
fn key_files(accounts: &[Account], patterns: &[String]) -> Result<BTreeSet<String>, Unavailable> {
    const MAX_PATTERNS: usize = 16;
    const MAX_FILES: usize = 100_000;
    let usual = [".ssh/authorized_keys".to_owned(), ".ssh/authorized_keys2".to_owned()];
    if patterns.len() > MAX_PATTERNS {
        return Err(Unavailable("sshd looks for keys in too many places".to_owned()));
    }
    let mut files: BTreeSet<String> = usual.iter().map(|file| format!("/root/{file}")).collect();
    for account in accounts.iter().filter(|account| account.home.starts_with('/')) {
        for pattern in usual.iter().chain(patterns).filter(|pattern| *pattern != "none") {
            let home = account.home.trim_end_matches('/');
            let file = pattern.replace("%h", home).replace("%u", &account.name);
            if file.contains('%') {
                let pattern = shown(pattern.as_bytes());
                return Err(Unavailable(format!(
                    "sshd looks for keys in {pattern}, which is not followed"
                )));
            }
            files.insert(if file.starts_with('/') { file } else { format!("{home}/{file}") });
        }
        if files.len() > MAX_FILES {
            return Err(Unavailable("there are more accounts than are looked at".to_owned()));
        }
    }
    Ok(files)
}

pub(super) fn authorized_keys(subject: &Subject<'_>) -> Answer {
    let guest = subject.guest()?;
    let settings = ssh::settings(&guest.tree)?.unwrap_or_default();
    let mut found = Vec::new();
    for path in key_files(guest.accounts()?, &settings.authorized_keys)? {
        let holds_key =
            |line: &String| !line.trim().is_empty() && !line.trim_start().starts_with('#');
        if guest.tree.lines(&path)?.iter().any(holds_key) {
            found.push(path);
        }
    }
    if found.is_empty() {
        return Verdict::good("none");
    }
    Verdict::bad(some_of(&found), repairs_for(&found, |path| Repair::Delete(path.clone())))
}

pub(super) fn private_keys(subject: &Subject<'_>) -> Answer {
    let guest = subject.guest()?;
    let tree = &guest.tree;
    let mut candidates = Vec::new();
    for home in guest.homes()? {
        candidates.extend(home_files(tree, home, ".ssh")?);
    }
    for directory in ["ssl/private", "pki/tls/private"] {
        candidates.extend(home_files(tree, "/etc", directory)?);
    }
    let mut found = Vec::new();
    for path in candidates {
        let head = tree.read_most(&path, 4_096)?.unwrap_or_default();
        if memchr::memmem::find(&head, b"PRIVATE KEY-----").is_some() {
            found.push(path);
        }
    }
    if found.is_empty() {
        return Verdict::good("none in .ssh, /etc/ssl/private and /etc/pki/tls/private");
    }
    let delete = |path: &Vec<u8>| Repair::Delete(String::from_utf8_lossy(path).into_owned());
    Verdict::bad(some_of(&found), repairs_for(&found, delete))
}

pub(super) fn ssh_passwords(subject: &Subject<'_>) -> Answer {
    let tree = &subject.guest()?.tree;
    if dropbear_takes_passwords(tree)? {
        let repair = Repair::ByHand("start dropbear with -s (DROPBEAR_OPTS, DROPBEAR_EXTRA_ARGS)");
        return Verdict::bad("dropbear is installed, and takes passwords", [repair]);
    }
    let Some(settings) = ssh::settings(tree)? else {
        return Verdict::good("there is no OpenSSH server");
    };
    match settings.password_login() {
        Some(found) if settings.only_matched() => {
            Verdict::bad(found, [Repair::ByHand("remove what turns it on from that Match")])
        }
        Some(found) => Verdict::bad(
            found,
            [Repair::Run(
                "f=/etc/ssh/sshd_config; [ -e $f ] || cp /usr/etc/ssh/sshd_config $f; \
                 { printf 'PasswordAuthentication no\\nKbdInteractiveAuthentication no\\n'; cat $f; } > $f.new; \
                 cat $f.new > $f; rm $f.new",
            )],
        ),
        None => Verdict::good("sshd asks for no passwords"),
    }
}

fn dropbear_takes_passwords(tree: &Tree) -> Result<bool, Unavailable> {
    if !tree.exists("/usr/sbin/dropbear")? {
        return Ok(false);
    }
    for path in ["/etc/default/dropbear", "/etc/conf.d/dropbear"] {
        for line in tree.lines(path)? {
            let options =
                line.split_once('=').filter(|(key, _)| key.trim_start().starts_with("DROPBEAR"));
            if options.is_some_and(|(_, value)| {
                value.trim_matches(['"', '\'']).split_whitespace().any(|word| word == "-s")
            }) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

pub(super) fn extra_users(subject: &Subject<'_>) -> Answer {
    let accounts = subject.guest()?.accounts()?;
    let people: Vec<&str> = accounts
        .iter()
        .filter(|account| account.uid >= FIRST_USER && !NOBODY.contains(&account.uid))
        .map(|account| account.name.as_str())
        .collect();
    if people.is_empty() {
        return Verdict::good("none");
    }
    Verdict::bad(
        some_of(&people),
        [Repair::ByHand("remove them (userdel -r), or say in the description what they are for")],
    )
}

/// A path below a home directory.
pub(super) fn at_home(home: &str, name: &str) -> Vec<u8> {
    join(home, name.as_bytes())
}
