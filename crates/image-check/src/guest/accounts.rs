//! The guest's accounts, as /etc/passwd and /etc/shadow have them.

use super::tree::Tree;
use crate::unavailable::Unavailable;
use std::collections::HashMap;

/// How an account can be entered with a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Password {
    /// No password fits.
    Locked,
    /// A password is stored.
    Set,
    /// None is asked for.
    Empty,
}

/// An account of the guest.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) uid: u64,
    /// The home directory.
    pub(crate) home: String,
    pub(crate) password: Password,
    /// The password is in /etc/passwd itself, which tools that lock passwords leave alone.
    pub(crate) is_in_passwd: bool,
}

/// The accounts, in their order.
pub(super) fn read(tree: &Tree) -> Result<Vec<Account>, Unavailable> {
    let shadow = tree.lines("/etc/shadow")?;
    let mut hashes = HashMap::new();
    for line in &shadow {
        let mut fields = line.split(':');
        if let (Some(name), Some(hash)) = (fields.next(), fields.next()) {
            hashes.entry(name).or_insert(hash);
        }
    }
    let passwd = tree.lines("/etc/passwd")?;
    let lines = passwd
        .iter()
        .map(|line| line.trim())
        .filter(|line| !line.is_empty() && !line.starts_with(['+', '-', '#']));
    let malformed = || Unavailable::damaged("a line of /etc/passwd makes no sense");
    lines.map(|line| account(line, &hashes).ok_or_else(malformed)).collect()
}

/// The account in a line of /etc/passwd; its password may be in /etc/shadow.
fn account(line: &str, hashes: &HashMap<&str, &str>) -> Option<Account> {
    const IN_SHADOW: &str = "x";
    let fields: Vec<&str> = line.split(':').map(str::trim).collect();
    let &[name, password, uid, _, _, home, ..] = &fields[..] else { return None };
    let is_in_passwd = password != IN_SHADOW;
    let hash = if is_in_passwd { password } else { hashes.get(name).copied().unwrap_or("!") };
    Some(Account {
        name: name.to_owned(),
        uid: uid.parse().ok()?,
        home: home.to_owned(),
        password: state(hash),
        is_in_passwd,
    })
}

fn state(hash: &str) -> Password {
    match hash {
        "" => Password::Empty,
        "x" | "NP" => Password::Locked,
        hash if hash.starts_with(['!', '*']) => Password::Locked,
        _ => Password::Set,
    }
}
