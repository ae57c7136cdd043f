//! Jobs of upstart, and the guide's calls in Ubuntu's own jobs.

use super::start::{NAMES, Start};
use crate::guest::Tree;
use crate::unavailable::Unavailable;

/// The jobs that run the contextualization.
pub(super) fn starts(tree: &Tree) -> Result<Vec<Start>, Unavailable> {
    let mut found = Vec::new();
    let mut interfaces = Vec::new();
    for job in ["networking", "network-interface"] {
        let path = format!("/etc/init/{job}.conf");
        if tree.exists(&path)? {
            interfaces.push((job, calls_context_first(&tree.lines(&path)?)));
        }
    }
    let calling: Vec<&str> =
        interfaces.iter().filter_map(|(job, calls)| calls.is_some().then_some(*job)).collect();
    if !calling.is_empty() {
        // Each of the two may bring an interface up on its own.
        let before_network = interfaces.iter().all(|(_, calls)| *calls == Some(true));
        found.push(Start {
            by: format!("upstart runs it in {}.conf", calling.join(".conf and ")),
            before_network,
        });
    }
    for name in NAMES {
        let path = format!("/etc/init/{name}.conf");
        if let Some(start) =
            tree.lines(&path)?.iter().find(|line| line.trim().starts_with("start on "))
        {
            let late = [
                "runlevel",
                "net-device-up",
                "started networking",
                "static-network-up",
                "stopped networking",
            ];
            let before_network = !late.iter().any(|event| start.contains(event));
            found.push(Start { by: format!("upstart starts {name}"), before_network });
        }
    }
    Ok(found)
}

/// Whether a job calls the script (`None` when it does not) before it brings an interface up.
fn calls_context_first(lines: &[String]) -> Option<bool> {
    let code = || lines.iter().map(|line| line.split('#').next().unwrap_or_default()).enumerate();
    let calls = |line: &str| {
        line.contains("vmcontext")
            || line.contains("one-contextd")
            || line.contains("one-context-local")
    };
    let (call, _) = code().find(|(_, line)| calls(line))?;
    let up = code().find(|(_, line)| {
        line.split_whitespace().any(|word| word.rsplit('/').next() == Some("ifup"))
    });
    Some(up.is_none_or(|(up, _)| call < up))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_after_the_interface_is_up_comes_too_late() {
        let job =
            |text: &str| calls_context_first(&text.lines().map(str::to_owned).collect::<Vec<_>>());
        let in_time = "pre-start script\n /etc/init.d/vmcontext\n \
                       exec ifup --allow auto $INTERFACE\nend script";
        assert_eq!(job(in_time), Some(true));
        assert_eq!(job("script\n ifup -a\n /etc/init.d/vmcontext\nend script"), Some(false));
        assert_eq!(job("# /etc/init.d/vmcontext\nexec ifup -a"), None);
    }
}
