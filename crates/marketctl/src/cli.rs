//! The command line.

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use market_core::checksum::{Md5, Sha256};
use market_core::error::Error;
use std::path::PathBuf;

/// Images and apps for OpenNebula marketplaces: check, describe, prepare.
#[derive(Debug, Parser)]
#[command(name = "marketctl", version, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) task: Task,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Look at an image, or make a clean copy of it
    Image {
        #[command(subcommand)]
        task: ImageTask,
    },
    /// Write what publishing an app needs, or check what others have written
    App {
        #[command(subcommand)]
        task: AppTask,
    },
    /// Print the completions of a shell
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

impl Task {
    /// Whether its exit code says how a check ended: 0, 1 or 2.
    pub(crate) fn says_how_it_ended(&self) -> bool {
        let of_image =
            matches!(self, Self::Image { task: ImageTask::Check(_) | ImageTask::Prepare(_) });
        of_image || matches!(self, Self::App { task: AppTask::Validate { .. } })
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImageTask {
    /// Is it ready for a marketplace? Exit code 0: nothing failed, 1: something did, 2: it cannot
    /// be read
    Check(Check),
    /// What is it? Format, sizes, checksums, partitions, system, contextualization
    Info(Info),
    /// Make a clean copy: qcow2, holes where zeros are, whole MiB, compared with its source and
    /// checked. Exit code 0: it is ready, 1: it is there and something fails, 2: it was not made
    Prepare(Prepare),
}

#[derive(Debug, Subcommand)]
pub(crate) enum AppTask {
    /// From an image and an app.toml: the templates for oneimage, onetemplate and onemarketapp, and
    /// the entry of a public marketplace
    Build(Build),
    /// Check the entries of a public marketplace: JSON as it is served, YAML as it is written
    Validate {
        /// Files of entries, all of one marketplace
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// How to report
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Convert a description of a Xen virtual machine (xm, xl) to a VM template
    Convert {
        /// The description
        file: PathBuf,
        /// The image, by its name in OpenNebula, that stands for the first disk; otherwise disks
        /// are named by their paths
        #[arg(long, value_name = "NAME")]
        image: Option<String>,
    },
}

/// For people, or for programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
}

/// What was declared of the image.
#[derive(Debug, Args)]
pub(crate) struct Expected {
    /// The format that was declared: qcow2 or raw
    #[arg(long, value_name = "FORMAT")]
    pub(crate) expect_format: Option<String>,
    /// The size of the disk that was declared, in bytes
    #[arg(long, value_name = "BYTES")]
    pub(crate) expect_size: Option<u64>,
    /// The MD5 that was declared
    #[arg(long, value_name = "HEX")]
    pub(crate) expect_md5: Option<Md5>,
    /// The SHA-256 that was declared
    #[arg(long, value_name = "HEX")]
    pub(crate) expect_sha256: Option<Sha256>,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// A file, a block device, or an http or https URL
    pub(crate) image: String,
    /// opennebula, minimal, or a file that changes one of them
    #[arg(long, default_value = "opennebula", value_name = "NAME|FILE")]
    pub(crate) policy: String,
    /// How to report
    #[arg(long, value_enum, default_value_t, conflicts_with = "fix_script")]
    pub(crate) format: Format,
    /// Print a shell script that repairs what can be repaired, instead of a report
    #[arg(long)]
    pub(crate) fix_script: bool,
    #[command(flatten)]
    pub(crate) expected: Expected,
    /// How long the checks may take; those that had no turn by then are SKIPs
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) time_limit: u64,
}

#[derive(Debug, Args)]
pub(crate) struct Info {
    /// A file, a block device, or an http or https URL
    pub(crate) image: String,
    /// How to report
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
    /// Leave the checksums out: they take as long as reading all of it
    #[arg(long)]
    pub(crate) no_checksums: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Prepare {
    /// A file, a block device, or an http or https URL
    pub(crate) source: String,
    /// Where the copy goes; nothing is replaced
    pub(crate) target: PathBuf,
    /// Compress the clusters
    #[arg(long)]
    pub(crate) compress: bool,
    /// opennebula, minimal, or a file that changes one of them: what the copy is checked by
    #[arg(long, default_value = "opennebula", value_name = "NAME|FILE")]
    pub(crate) policy: String,
    #[command(flatten)]
    pub(crate) expected: Expected,
}

#[derive(Debug, Args)]
pub(crate) struct Build {
    /// The description of the app
    pub(crate) description: PathBuf,
    /// The image: a file
    #[arg(long)]
    pub(crate) image: PathBuf,
    /// A directory for what is written; nothing in it is replaced
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) output: PathBuf,
    /// The image's id in OpenNebula, once oneimage has given it one
    #[arg(long, value_name = "ID")]
    pub(crate) origin_id: Option<u32>,
}

/// The manual page: that of the command, and one section a command below it.
pub(crate) fn manual() -> Result<Vec<u8>, Error> {
    fn pages(command: clap::Command, name: String, out: &mut Vec<u8>) -> std::io::Result<()> {
        let below: Vec<clap::Command> = command.get_subcommands().cloned().collect();
        clap_mangen::Man::new(command.name(name.clone())).render(out)?;
        for command in below {
            let name = format!("{name}-{}", command.get_name());
            pages(command, name, out)?;
        }
        Ok(())
    }
    let mut out = Vec::new();
    pages(Arguments::command(), "marketctl".to_owned(), &mut out)
        .map_err(|error| Error::io("the manual", &error))?;
    Ok(out)
}
