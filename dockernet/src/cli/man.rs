//! Manual pages: one of the command and one of each job, from what clap knows. What its generator leaves in one lump, the texts
//! after a job's help, becomes the sections that readers of manuals look for.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
};

use anyhow::{Context as _, Result};
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};

use super::{
    Exit, Usage,
    args::{ManArgs, command},
    suggest,
};

const FILES: &[(&str, &str)] = &[
    (
        "/etc/dockernet-trace.toml",
        "Configuration of dockernet-trace monitor, if it is there. dist/dockernet-trace.toml of the source holds every option with its default.",
    ),
    (
        "/sys/kernel/btf/vmlinux",
        "The kernel's type information. Without it nothing can be traced.",
    ),
    (
        "/var/run/docker.sock",
        "Where the container engine is asked, unless -H or DOCKER_HOST says otherwise. Only GET requests are sent.",
    ),
];

const ENVIRONMENT: &[(&str, &str)] = &[
    (
        "DOCKER_HOST",
        "The container engine, where -H does not name it. sudo strips it.",
    ),
    ("NO_COLOR", "If set and not empty: no colours."),
    (
        "LC_ALL, LC_CTYPE, LANG",
        "Where they do not name UTF-8, texts are plain ASCII.",
    ),
];

/// Exit status of jobs whose help tells none of their own.
const STATUS: &str = "Exit status:
  0  done
  1  a failure; one sentence on stderr says what to do
  2  bad usage";

/// Prints a page, or writes all.
///
/// # Errors
/// There is no such job (bad usage), or a file cannot be written.
pub fn run(args: &ManArgs) -> Result<Exit> {
    if let Some(folder) = &args.folder {
        pages(folder)?;
        return Ok(Exit::Done);
    }
    let page = page(args.page.as_deref())?;
    let mut out = io::stdout();
    out.write_all(&page)
        .and_then(|()| out.flush())
        .context("writing to standard output")?;
    Ok(Exit::Done)
}

/// The manual page of the command, or of `job`, in roff.
fn page(job: Option<&str>) -> Result<Vec<u8>> {
    let root = built();
    let Some(job) = job else {
        return render(&root, &root);
    };
    let found = root.find_subcommand(job).ok_or_else(|| {
        let jobs = root.get_subcommands().map(clap::Command::get_name);
        Usage(format!(
            "there is no job '{job}'{}",
            suggest::hint(job, jobs)
        ))
    })?;
    render(found, &root)
}

/// Writes all pages into a folder: `dockernet-trace.1`, `dockernet-trace-path.1` …
fn pages(folder: &Path) -> Result<()> {
    let root = built();
    for command in [&root].into_iter().chain(root.get_subcommands()) {
        let file = folder.join(format!("{}.1", name(command)));
        fs::write(&file, render(command, &root)?)
            .with_context(|| format!("{} could not be written", file.display()))?;
    }
    Ok(())
}

/// The command with the names that its jobs' pages have.
fn built() -> clap::Command {
    let mut root = command();
    root.build();
    root
}

/// `dockernet-trace-path`.
fn name(command: &clap::Command) -> String {
    command
        .get_display_name()
        .unwrap_or_else(|| command.get_name())
        .to_owned()
}

fn render(command: &clap::Command, root: &clap::Command) -> Result<Vec<u8>> {
    let is_root = command.get_name() == root.get_name();
    let man = Man::new(command.clone()).title(name(command));
    let mut out = Vec::new();
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    man.render_options_section(&mut out)?;
    if is_root {
        man.render_subcommands_section(&mut out)?;
    }
    let mut roff = Roff::new();
    let after = command
        .get_after_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    sections(&mut roff, &after);
    if !after.contains("Exit status:") {
        sections(&mut roff, STATUS);
    }
    table(&mut roff, "ENVIRONMENT", ENVIRONMENT);
    table(&mut roff, "FILES", FILES);
    roff.control("SH", ["SEE ALSO"]);
    let others = [root]
        .into_iter()
        .chain(root.get_subcommands())
        .filter(|other| other.get_name() != command.get_name());
    let others: Vec<String> = others.map(|other| format!("{}(1)", name(other))).collect();
    roff.text([roman(others.join(", "))]);
    roff.to_writer(&mut out)?;
    if is_root {
        man.render_version_section(&mut out)?;
    }
    Ok(out)
}

/// A help's last part: paragraphs with a heading (`Exit status:`) become sections as they stand, others a section NOTES.
fn sections(roff: &mut Roff, text: &str) {
    for paragraph in text.split("\n\n") {
        let (first, rest) = paragraph.split_once('\n').unwrap_or((paragraph, ""));
        match first.strip_suffix(':').filter(|_| !rest.is_empty()) {
            Some(heading) => {
                roff.control("SH", [heading.to_uppercase().as_str()]);
                roff.control("nf", []);
                for line in rest.lines() {
                    roff.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
                }
                roff.control("fi", []);
            }
            None if paragraph.trim().is_empty() => {}
            None => {
                roff.control("SH", ["NOTES"]);
                roff.text([roman(paragraph)]);
            }
        }
    }
}

fn table(roff: &mut Roff, heading: &str, rows: &[(&str, &str)]) {
    roff.control("SH", [heading]);
    for (name, meaning) in rows {
        roff.control("TP", []);
        roff.text([bold(*name)]);
        roff.text([roman(*meaning)]);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn text(job: Option<&str>) -> String {
        String::from_utf8(page(job).unwrap()).unwrap()
    }

    #[test]
    fn every_job_has_a_page_with_its_sections() {
        let root = built();
        for job in root
            .get_subcommands()
            .map(|job| Some(job.get_name()))
            .chain([None])
        {
            let text = text(job);
            for section in [
                "NAME",
                "SYNOPSIS",
                "DESCRIPTION",
                "OPTIONS",
                "\"EXIT STATUS\"",
                "ENVIRONMENT",
                "FILES",
                "\"SEE ALSO\"",
            ] {
                let heading = format!(".SH {section}\n");
                assert_eq!(
                    text.matches(&heading).count(),
                    1,
                    "{job:?} {section}: {text}"
                );
            }
            assert!(!text.contains(".SH EXTRA"), "{job:?}");
        }
        assert!(page(Some("nothing")).is_err());
    }

    #[test]
    fn examples_stand_as_they_are_typed() {
        for job in [None, Some("path"), Some("monitor"), Some("check")] {
            let text = text(job);
            assert!(
                text.contains("\n.SH EXAMPLES\n.nf\nsudo dockernet\\-trace"),
                "{job:?}: {text}"
            );
        }
    }
}
