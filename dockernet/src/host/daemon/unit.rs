//! What systemd would start dockerd with: the unit, its drop-ins, and the environment that they name.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
};

/// Where units are, the administrator's first (systemd.unit(5)).
const FOLDERS: [&str; 5] = [
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
];
const UNIT: &str = "docker.service";

/// The unit as it is put together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unit {
    /// `ExecStart`, its variables replaced: the program and its arguments.
    pub command: Vec<String>,
    /// The file that `ExecStart` is in.
    pub file: Option<PathBuf>,
    /// The unit is masked: systemd does not start it.
    pub masked: bool,
    /// It has more than one `ExecStart`: systemd refuses it.
    pub several: bool,
}

impl Unit {
    /// Reads it below a root folder; empty where there is none.
    pub(crate) fn read(root: &Path) -> Self {
        let folders: Vec<PathBuf> = FOLDERS.iter().map(|folder| root.join(folder)).collect();
        let Some(main) = folders
            .iter()
            .map(|folder| folder.join(UNIT))
            .find(|file| file.symlink_metadata().is_ok())
        else {
            return Self::default();
        };
        let is_nothing = fs::read_link(&main).is_ok_and(|to| to == Path::new("/dev/null"));
        if is_nothing || fs::metadata(&main).is_ok_and(|found| found.len() == 0) {
            return Self {
                file: Some(main),
                masked: true,
                ..Self::default()
            };
        }
        // Of drop-ins with one name the first folder's counts; they are read in the order of their names.
        let mut parts: BTreeMap<_, PathBuf> = BTreeMap::new();
        for folder in &folders {
            let entries = fs::read_dir(folder.join(format!("{UNIT}.d")));
            for entry in entries.into_iter().flatten().flatten() {
                let name = entry.file_name();
                if Path::new(&name)
                    .extension()
                    .is_some_and(|end| end == "conf")
                {
                    parts.entry(name).or_insert_with(|| entry.path());
                }
            }
        }
        let mut read = Reading::default();
        for file in std::iter::once(main).chain(parts.into_values()) {
            if let Ok(text) = fs::read_to_string(&file) {
                read.file(&file, &text);
            }
        }
        let environment = read.environment(root);
        let several = read.starts.len() > 1;
        let (line, file) = match read.starts.pop() {
            Some((line, file)) => (line, Some(file)),
            None => (String::new(), None),
        };
        Self {
            command: words(&line, &environment),
            file,
            masked: false,
            several,
        }
    }
}

#[derive(Default)]
struct Reading {
    /// Every `ExecStart` that was not taken back, and where it is.
    starts: Vec<(String, PathBuf)>,
    /// `Environment`, and the names of environment files.
    variables: Vec<String>,
    files: Vec<String>,
}

impl Reading {
    fn file(&mut self, file: &Path, text: &str) {
        let mut section = String::new();
        for line in lines(text) {
            if line.starts_with('[') {
                section.clone_from(&line);
            }
            let Some((key, value)) = line.split_once('=').filter(|_| section == "[Service]") else {
                continue;
            };
            let value = value.trim().to_owned();
            // Empty: what came before is taken back.
            match (key.trim(), value.is_empty()) {
                ("ExecStart", true) => self.starts.clear(),
                ("ExecStart", false) => self.starts.push((value, file.to_owned())),
                ("Environment", true) => self.variables.clear(),
                ("Environment", false) => self.variables.extend(split(&value)),
                ("EnvironmentFile", true) => self.files.clear(),
                ("EnvironmentFile", false) => self.files.push(value),
                _ => {}
            }
        }
    }

    /// All variables: those of files come last, wherever they stand (systemd.exec(5)).
    fn environment(&self, root: &Path) -> HashMap<String, String> {
        let pair = |(name, value): (&str, &str)| (name.trim().to_owned(), value.to_owned());
        let own = self
            .variables
            .iter()
            .filter_map(|word| word.split_once('='));
        let mut all: HashMap<String, String> = own.map(pair).collect();
        for file in &self.files {
            let path = file.trim_start_matches('-').trim_start_matches('/');
            let text = fs::read_to_string(root.join(path)).unwrap_or_default();
            let lines = lines(&text);
            let pairs = lines.iter().filter_map(|line| line.split_once('='));
            all.extend(pairs.map(|(name, value)| pair((name, unquoted(value.trim())))));
        }
        all
    }
}

/// The value of an environment file's line, which may be in quotes as a whole.
fn unquoted(value: &str) -> &str {
    let inner = ['"', '\''].iter().find_map(|quote| {
        let value = value.strip_prefix(*quote)?;
        value.strip_suffix(*quote)
    });
    inner.unwrap_or(value)
}

/// Lines without comments, continued ones joined. A comment does not go on, nor does it end what goes on.
fn lines(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut open = String::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(line) = line.strip_suffix('\\') {
            open += line;
            open.push(' ');
            continue;
        }
        open += line;
        all.push(std::mem::take(&mut open).trim().to_owned());
    }
    all.push(open.trim().to_owned());
    all
}

/// The words of a command line as systemd splits it (systemd.service(5)): quotes, `${NAME}`, and `$NAME` as a word of its own,
/// which becomes as many words as its value has.
fn words(line: &str, environment: &HashMap<String, String>) -> Vec<String> {
    // `-`, `@`, `:`, `+`, `!` before the program tell how it is run.
    let line = line.trim_start_matches(['-', '@', ':', '+', '!']);
    let mut found = Vec::new();
    for word in split(line) {
        let value = word
            .strip_prefix('$')
            .filter(|name| !name.is_empty() && !name.starts_with(['{', '$']));
        match value {
            Some(name) => found.extend(split(environment.get(name).map_or("", String::as_str))),
            None => found.push(replaced(&word, environment)),
        }
    }
    found
}

fn split(line: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            ('\\', Some('"') | None) => word.get_or_insert_default().extend(letters.next()),
            (_, Some(open)) if letter == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (_, None) if letter.is_ascii_whitespace() => found.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    found.extend(word);
    found
}

fn replaced(word: &str, environment: &HashMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = word;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((name, behind)) = after.split_once('}') else {
            break;
        };
        out += before;
        out += environment.get(name).map_or("", String::as_str);
        rest = behind;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let file = root.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        root
    }

    #[test]
    fn the_unit_alone() {
        let unit = "[Unit]\nExecStart=no\n[Service]\nType=notify\nExecStart=/usr/bin/dockerd -H fd:// \\\n  --bip=192.0.2.0/24\n";
        let root = root(&[("lib/systemd/system/docker.service", unit)]);
        let unit = Unit::read(root.path());
        assert_eq!(
            unit.command,
            ["/usr/bin/dockerd", "-H", "fd://", "--bip=192.0.2.0/24"]
        );
        assert!(
            unit.file
                .unwrap()
                .ends_with("lib/systemd/system/docker.service")
        );
        assert_eq!(Unit::read(Path::new("/nonexistent")), Unit::default());
    }

    #[test]
    fn drop_ins_take_back_and_hide() {
        let own = "[Service]\nEnvironment=\"A=--dns 192.0.2.53\" B=x\nEnvironmentFile=-/etc/default/docker\nExecStart=/usr/bin/dockerd -H fd://\n";
        let last = "[Service]\nExecStart=\nExecStart=-/usr/bin/dockerd $A --label=${B}-${C} $OPTS \"a b\" $NONE\n";
        let root = root(&[
            ("usr/lib/systemd/system/docker.service", own),
            (
                "etc/default/docker",
                "# OPTS=no\nOPTS=\"--bridge lan0 --debug\"\nC='y'\n",
            ),
            ("etc/systemd/system/docker.service.d/20-last.conf", last),
            (
                "etc/systemd/system/docker.service.d/10-first.conf",
                "[Service]\nExecStart=no\n",
            ),
            (
                "etc/systemd/system/docker.service.d/30.txt",
                "[Service]\nExecStart=no\n",
            ),
            // Of the same name in a folder that comes later.
            (
                "run/systemd/system/docker.service.d/20-last.conf",
                "[Service]\nExecStart=no\n",
            ),
        ]);
        let unit = Unit::read(root.path());
        assert_eq!(
            unit.command,
            [
                "/usr/bin/dockerd",
                "--dns",
                "192.0.2.53",
                "--label=x-y",
                "--bridge",
                "lan0",
                "--debug",
                "a b"
            ]
        );
        assert!(
            unit.file
                .unwrap()
                .ends_with("docker.service.d/20-last.conf")
        );
    }

    #[test]
    fn files_come_last_and_comments_do_not_count() {
        let unit = "[Service]\nEnvironmentFile=-/etc/no\nEnvironmentFile=\nEnvironmentFile=-/etc/default/docker\nEnvironment=OPTS=--no\n\
                    # no \\\nExecStart=/usr/bin/dockerd \\\n# --bip=no \\\n  $OPTS\n";
        let root = root(&[
            ("lib/systemd/system/docker.service", unit),
            ("etc/default/docker", "OPTS=--debug\n"),
            ("etc/no", "OPTS=--no\n"),
        ]);
        let unit = Unit::read(root.path());
        assert_eq!(unit.command, ["/usr/bin/dockerd", "--debug"]);
        assert!(!unit.several);
    }

    #[test]
    fn a_second_command() {
        let root = root(&[
            (
                "lib/systemd/system/docker.service",
                "[Service]\nExecStart=a\n",
            ),
            (
                "etc/systemd/system/docker.service.d/own.conf",
                "[Service]\nExecStart=b\n",
            ),
        ]);
        let unit = Unit::read(root.path());
        assert!(unit.several && unit.file.unwrap().ends_with("own.conf"));
    }

    #[test]
    fn one_that_is_masked() {
        let root = root(&[(
            "lib/systemd/system/docker.service",
            "[Service]\nExecStart=x\n",
        )]);
        let etc = root.path().join("etc/systemd/system");
        fs::create_dir_all(&etc).unwrap();
        std::os::unix::fs::symlink("/dev/null", etc.join(UNIT)).unwrap();
        let unit = Unit::read(root.path());
        assert!(unit.masked && unit.command.is_empty());
    }
}
