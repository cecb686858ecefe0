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
pub(super) struct Unit {
    /// `ExecStart`, its variables replaced: the program and its arguments.
    pub command: Vec<String>,
    /// The file that `ExecStart` is in.
    pub file: Option<PathBuf>,
    /// The unit is masked: systemd does not start it.
    pub masked: bool,
}

impl Unit {
    /// Reads it below a root folder; empty where there is none.
    pub(super) fn read(root: &Path) -> Self {
        let folders: Vec<PathBuf> = FOLDERS.iter().map(|folder| root.join(folder)).collect();
        let Some(main) = folders
            .iter()
            .map(|folder| folder.join(UNIT))
            .find(|file| file.symlink_metadata().is_ok())
        else {
            return Self::default();
        };
        if fs::read_link(&main).is_ok_and(|to| to == Path::new("/dev/null")) {
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
                read.file(root, &file, &text);
            }
        }
        let (line, file) = match read.start {
            Some((line, file)) => (line, Some(file)),
            None => (String::new(), None),
        };
        Self {
            command: words(&line, &read.environment),
            file,
            masked: false,
        }
    }
}

#[derive(Default)]
struct Reading {
    /// The last `ExecStart` that was not taken back, and where it is.
    start: Option<(String, PathBuf)>,
    environment: HashMap<String, String>,
}

impl Reading {
    fn file(&mut self, root: &Path, file: &Path, text: &str) {
        let joined = text.replace("\\\n", " ");
        let mut section = "";
        for line in joined.lines().map(str::trim) {
            if line.starts_with('[') {
                section = line;
            }
            let Some((key, value)) = line.split_once('=').filter(|_| section == "[Service]") else {
                continue;
            };
            let value = value.trim();
            match key.trim() {
                // Empty: what came before is taken back.
                "ExecStart" if value.is_empty() => self.start = None,
                "ExecStart" => self.start = Some((value.to_owned(), file.to_owned())),
                "Environment" if value.is_empty() => self.environment.clear(),
                "Environment" => {
                    for word in words(value, &HashMap::new()) {
                        self.set(&word);
                    }
                }
                "EnvironmentFile" => {
                    let path = value.trim_start_matches('-').trim_start_matches('/');
                    let text = fs::read_to_string(root.join(path)).unwrap_or_default();
                    for line in text.replace("\\\n", " ").lines().map(str::trim) {
                        if !line.starts_with(['#', ';']) {
                            self.assign(line);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// `NAME=VALUE` of a unit, quotes taken off already.
    fn set(&mut self, assignment: &str) {
        if let Some((name, value)) = assignment.split_once('=') {
            self.environment.insert(name.to_owned(), value.to_owned());
        }
    }

    /// A line of an environment file: the value may be in quotes as a whole.
    fn assign(&mut self, line: &str) {
        if let Some((name, value)) = line.split_once('=') {
            let value = value.trim();
            let quoted = ['"', '\''].iter().find_map(|quote| {
                value
                    .strip_prefix(*quote)
                    .and_then(|value| value.strip_suffix(*quote))
            });
            let value = quoted.unwrap_or(value).to_owned();
            self.environment.insert(name.trim().to_owned(), value);
        }
    }
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
