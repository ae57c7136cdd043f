//! Passwords, keys and accounts.

use super::files::{none_of, regular_files};
use super::sshd;
use super::verdict::{CheckResult, Subject, Verdict, repairs_for};
use crate::guest::{Account, Password, Tree};
use crate::repair::Repair;
use crate::text::{first_of, printable};
use crate::unavailable::Unavailable;
use std::collections::BTreeSet;

/// The first id of people's accounts, and the ids that distributions give to `nobody`.
const FIRST_USER: u64 = 1_000;
const NOBODY: [u64; 3] = [65_533, 65_534, 4_294_967_294];

pub(super) fn root_password(subject: &Subject<'_>) -> CheckResult {
    let accounts = subject.guest()?.accounts()?;
    let of_root: Vec<&Account> = accounts.iter().filter(|account| account.uid == 0).collect();
    let open: Vec<&Account> =
        of_root.iter().copied().filter(|account| account.password != Password::Locked).collect();
    match open.first() {
        Some(account) => {
            let name = printable(account.name.as_bytes());
            Verdict::problem(format!("{name} {}", password_state(account)), locks(&open))
        }
        None if of_root.is_empty() => Verdict::pass("there is no root account"),
        None => Verdict::pass("locked"),
    }
}

/// What locks accounts, each name once.
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

/// How an account can be entered, for people.
fn password_state(account: &Account) -> &'static str {
    match account.password {
        Password::Empty => "needs no password at all",
        Password::Set => "has a password",
        Password::Locked => "is locked",
    }
}

pub(super) fn user_passwords(subject: &Subject<'_>) -> CheckResult {
    let accounts = subject.guest()?.accounts()?;
    let open: Vec<&Account> = accounts
        .iter()
        .filter(|account| account.uid != 0 && account.password != Password::Locked)
        .collect();
    let Some(first) = open.first() else { return Verdict::pass("no account has a password") };
    let names: Vec<&str> = open.iter().map(|account| account.name.as_str()).collect();
    let found = match open.len() {
        1 => format!("{} {}", printable(first.name.as_bytes()), password_state(first)),
        _ => format!("{} can be entered with a password, or without", first_of(&names)),
    };
    Verdict::problem(found, locks(&open))
}

/// The files in which sshd looks for the keys of accounts.
fn key_files(accounts: &[Account], patterns: &[String]) -> Result<BTreeSet<String>, Unavailable> {
    const MAX_PATTERNS: usize = 16;
    const MAX_FILES: usize = 100_000;
    let usual = [".ssh/authorized_keys".to_owned(), ".ssh/authorized_keys2".to_owned()];
    if patterns.len() > MAX_PATTERNS {
        return Err(Unavailable::too_large("sshd looks for keys in too many places"));
    }
    let mut files: BTreeSet<String> = usual.iter().map(|file| format!("/root/{file}")).collect();
    for account in accounts.iter().filter(|account| account.home.starts_with('/')) {
        for pattern in usual.iter().chain(patterns).filter(|pattern| *pattern != "none") {
            let home = account.home.trim_end_matches('/');
            let file = pattern.replace("%h", home).replace("%u", &account.name);
            if file.contains('%') {
                let pattern = printable(pattern.as_bytes());
                return Err(Unavailable::unsupported(format!(
                    "sshd looks for keys in {pattern}, which is not followed"
                )));
            }
            files.insert(if file.starts_with('/') { file } else { format!("{home}/{file}") });
        }
        if files.len() > MAX_FILES {
            return Err(Unavailable::too_large("there are more accounts than are looked at"));
        }
    }
    Ok(files)
}

pub(super) fn authorized_keys(subject: &Subject<'_>) -> CheckResult {
    let guest = subject.guest()?;
    let settings = sshd::settings(&guest.tree)?.unwrap_or_default();
    let mut found = Vec::new();
    for path in key_files(guest.accounts()?, &settings.authorized_keys)? {
        let holds_key =
            |line: &String| !line.trim().is_empty() && !line.trim_start().starts_with('#');
        if guest.tree.lines(&path)?.iter().any(holds_key) {
            found.push(path);
        }
    }
    if found.is_empty() {
        return Verdict::pass("none");
    }
    Verdict::problem(first_of(&found), repairs_for(&found, |path| Repair::Delete(path.clone())))
}

pub(super) fn private_keys(subject: &Subject<'_>) -> CheckResult {
    let guest = subject.guest()?;
    let tree = &guest.tree;
    let mut candidates = Vec::new();
    for home in guest.homes()? {
        candidates.extend(regular_files(tree, &format!("{home}/.ssh"))?);
    }
    for directory in ["/etc/ssl/private", "/etc/pki/tls/private"] {
        candidates.extend(regular_files(tree, directory)?);
    }
    let mut found = Vec::new();
    for path in candidates {
        let head = tree.read_at_most(&path, 4_096)?.unwrap_or_default();
        if memchr::memmem::find(&head, b"PRIVATE KEY-----").is_some() {
            found.push(path);
        }
    }
    none_of(&found, "none in .ssh, /etc/ssl/private and /etc/pki/tls/private")
}

pub(super) fn ssh_passwords(subject: &Subject<'_>) -> CheckResult {
    let tree = &subject.guest()?.tree;
    if dropbear_takes_passwords(tree)? {
        let repair = Repair::ByHand("start dropbear with -s (DROPBEAR_OPTS, DROPBEAR_EXTRA_ARGS)");
        return Verdict::problem("dropbear is installed, and takes passwords", [repair]);
    }
    let Some(settings) = sshd::settings(tree)? else {
        return Verdict::pass("there is no OpenSSH server");
    };
    match settings.password_login() {
        Some(found) if settings.only_matched() => {
            Verdict::problem(found, [Repair::ByHand("remove what turns it on from that Match")])
        }
        Some(found) => Verdict::problem(
            found,
            [Repair::Run(
                "f=/etc/ssh/sshd_config; [ -e $f ] || cp /usr/etc/ssh/sshd_config $f; \
                 { printf 'PasswordAuthentication no\\nKbdInteractiveAuthentication no\\n'; \
                 cat $f; } > $f.new; \
                 cat $f.new > $f; rm $f.new",
            )],
        ),
        None => Verdict::pass("sshd asks for no passwords"),
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

pub(super) fn extra_users(subject: &Subject<'_>) -> CheckResult {
    let accounts = subject.guest()?.accounts()?;
    let people: Vec<&str> = accounts
        .iter()
        .filter(|account| account.uid >= FIRST_USER && !NOBODY.contains(&account.uid))
        .map(|account| account.name.as_str())
        .collect();
    if people.is_empty() {
        return Verdict::pass("none");
    }
    Verdict::problem(
        first_of(&people),
        [Repair::ByHand("remove them (userdel -r), or say in the description what they are for")],
    )
}
