//! Whether a script reads its standard input, as far as its text shows.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Whether a script reads its own standard input, or is replaced (`exec`) by a compiled program
/// that gets all of its arguments.
pub(super) fn reads_stdin(script: &str) -> bool {
    names_stdin(script) || script.lines().filter_map(exec_target).any(|path| !is_script(path))
}

/// The program of a line `exec /path "$@"`.
fn exec_target(line: &str) -> Option<&Path> {
    let words: Vec<_> = line.split_whitespace().collect();
    match words[..] {
        ["exec", program, "\"$@\""] => {
            Some(Path::new(program.trim_matches(['"', '\'']))).filter(|path| path.is_absolute())
        }
        _ => None,
    }
}

/// Whether a program is a script. One that cannot be read counts as one.
fn is_script(program: &Path) -> bool {
    let mut first_bytes = [0; 2];
    let is_file = program.metadata().is_ok_and(|metadata| metadata.is_file());
    let mut read = || File::open(program)?.read_exact(&mut first_bytes);
    !is_file || read().is_err() || first_bytes == *b"#!"
}

/// Whether the text of a script reads standard input: by its name in a scripting language, or by a
/// shell command that reads it when no file is given.
fn names_stdin(script: &str) -> bool {
    const NAMES: [&str; 15] = [
        "sys.stdin",
        "stdin.read",
        "stdin.buffer",
        "stdin.gets",
        "stdin.each",
        "<stdin>",
        "/dev/stdin",
        "/dev/fd/0",
        "process.stdin",
        "php://stdin",
        "argf.read",
        "fileinput.input",
        "readfilesync(0",
        "open(0)",
        "os.read(0",
    ];
    let lines = || script.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    // The commands in a block that ends in a redirection read the redirected file.
    let ends_redirected_block = |line: &str| {
        line.contains('<') && ["}", "done", "fi", ")"].iter().any(|end| line.starts_with(end))
    };
    let has_redirected_block = lines().any(ends_redirected_block);
    lines().any(|line| {
        let lower = line.to_ascii_lowercase();
        NAMES.iter().any(|name| lower.contains(name))
            || !has_redirected_block && is_read_command(line)
            || line.split([';', '&', '(', ')', '`', '{', '}']).any(pipeline_reads_stdin)
    })
}

/// Whether a shell line is a command that reads lines into variables.
fn is_read_command(line: &str) -> bool {
    let command = line.split_whitespace().find(|word| !word.contains('='));
    !line.contains(['<', '|'])
        && command.is_some_and(|command| ["read", "mapfile", "readarray"].contains(&command))
}

/// Whether the first command of a pipeline reads standard input because it is given no file.
fn pipeline_reads_stdin(pipeline: &str) -> bool {
    let Some(first) = pipeline.split('|').next().filter(|first| !first.contains('<')) else {
        return false;
    };
    let mut words = first.split_whitespace().skip_while(|word| word.contains('='));
    words.next().is_some_and(|command| ["cat", "base64", "wc"].contains(&command))
        && words.take_while(|word| !word.starts_with('>')).all(|word| word.starts_with('-'))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test part fails its test")]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn scripts_that_read_standard_input_are_recognised() {
        for script in [
            "echo \"$1\"; cat",
            "dump=$(cat)",
            "base64 -d > x",
            "printf x; wc -c",
            "xml = Base64.decode64(STDIN.read)",
            "import sys\nsys.stdin.read()",
            "while read -r line; do :; done < /dev/stdin",
            "IFS= read -r dump",
            "mapfile -t lines",
        ] {
            assert!(names_stdin(script), "{script}");
        }
        for script in [
            "echo \"$1\" | base64 -d",
            "DUMP=$1\ncat <<EOF\nEOF",
            "while IFS= read -r -d '' element; do x=$element; done < <(decode $DUMP)",
            "# cat\ndf -P | tail -n 1 | wc -l",
            "xml = decode(ARGV[0]); Open3.capture3('x', :stdin_data => '')",
            "cat /etc/motd",
            "{\nread -r a\nread -r b\n} < <(decode $1)",
            "read -r a b <<< \"$1\"",
            "subprocess.run(x, stdin=subprocess.DEVNULL)",
        ] {
            assert!(!names_stdin(script), "{script}");
        }
    }

    #[test]
    fn a_script_that_execs_a_program_counts_as_what_the_program_is() {
        let directory = tempfile::tempdir().unwrap();
        let [program, script] = ["program", "script"].map(|name| directory.path().join(name));
        fs::write(&program, "\u{7f}ELF").unwrap();
        fs::write(&script, "#!/bin/sh\necho \"$1\"").unwrap();
        let wrapper =
            |program: &Path| format!("#!/bin/sh\nexport X=1\nexec {} \"$@\"\n", program.display());
        assert!(reads_stdin(&wrapper(&program)));
        for other in [
            script.as_path(),
            &directory.path().join("missing"),
            directory.path(),
            Path::new("program"),
        ] {
            assert!(!reads_stdin(&wrapper(other)), "{other:?}");
        }
        let interpreter = format!("exec {} {} \"$@\"", program.display(), script.display());
        assert!(!reads_stdin(&interpreter), "the program is an interpreter");
    }
}
