//! The configuration file: where it is, and its TOML as a layer.
//!
//! No message quotes the file, nor the parser's errors, which do.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use toml::{Table, Value as Toml};

use super::keys::{ACCOUNTS, Address, CLIENTS, Key, Owner, ROOT, SECTIONS};
use super::layer::Layer;
use super::mistake::{Mistake, Origin};
use super::unknown::{self, Notation};

pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

impl File {
    /// Reads the file that the flag names, else the one that the variable names, else the standard
    /// one if it exists.
    pub(super) fn find(
        flag: Option<&Path>,
        variable: Option<(String, PathBuf)>,
        standard: &Path,
    ) -> Result<Option<Self>, Mistake> {
        let (path, named_by) = match (flag, variable) {
            (Some(path), _) => (path.to_owned(), Some(Origin::Flag)),
            (None, Some((name, path))) => (path, Some(Origin::Variable(name))),
            (None, None) => (standard.to_owned(), None),
        };
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(Self { path, text })),
            Err(error) if named_by.is_none() && error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => {
                let problem = format!("the configuration file cannot be read: {error}");
                Err(Mistake::other(
                    path.display().to_string(),
                    named_by,
                    problem,
                ))
            }
        }
    }

    pub(super) fn layer(&self) -> Result<Layer, Mistake> {
        let table = parse(&self.text).map_err(|problem| {
            let path = self.path.display().to_string();
            Mistake::other(path, None, problem)
        })?;
        Ok(layer(table, &Origin::File(self.path.clone())))
    }
}

/// Tells only where the parser stopped: some of its messages quote the file.
fn parse(text: &str) -> Result<Table, String> {
    text.parse().map_err(|error: toml::de::Error| {
        let start = error.span().map_or(0, |span| span.start);
        let before = text.get(..start).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        format!(
            "is not valid TOML at line {line}, column {column}; strings must be in quotes, \
             numbers have at most 18 digits, and a key or table may be given only once"
        )
    })
}

fn layer(table: Table, origin: &Origin) -> Layer {
    let mut reader = Reader {
        layer: Layer::default(),
        origin,
    };
    reader.keys(ROOT, None, table);
    reader.layer
}

struct Reader<'o> {
    layer: Layer,
    origin: &'o Origin,
}

impl Reader<'_> {
    /// What is in the table of that section, or of that owner in it.
    fn keys(&mut self, section: &str, owner: Option<&Owner>, table: Table) {
        let has_owners = owner.is_none() && [ACCOUNTS, CLIENTS].contains(&section);
        for (name, value) in table {
            let owner_name = owner.map(Owner::name);
            let parts = [section, owner_name.unwrap_or_default(), &quoted(&name)];
            let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            let path = parts.join(".");
            if owner.is_none() && SECTIONS.contains(&path.as_str()) {
                if let Some(keys) = self.table(&path, value) {
                    self.keys(&path, None, keys);
                }
            } else if has_owners {
                match Owner::read(section, &name) {
                    Ok(owner) => {
                        if let Some(keys) = self.table(&path, value) {
                            self.layer.owners.insert(owner.clone());
                            self.keys(section, Some(&owner), keys);
                        }
                    }
                    Err(problem) => self.mistake(&path, problem),
                }
            } else if let Some((key, form)) = Key::find(section, &name) {
                let owner = owner.cloned();
                let texts = key.kind.texts_of_toml(value).ok_or_else(|| key.kind.rule());
                let address = Address { owner, key };
                self.layer
                    .insert(&address, form, self.origin.clone(), texts);
            } else {
                let problem = unknown::problem(section, owner_name, &name, Notation::Toml);
                self.mistake(&path, problem);
            }
        }
    }

    fn table(&mut self, path: &str, value: Toml) -> Option<Table> {
        if let Toml::Table(table) = value {
            return Some(table);
        }
        self.mistake(path, format!("must be a table, `[{path}]`"));
        None
    }

    fn mistake(&mut self, path: &str, problem: String) {
        let mistake = Mistake::other(path, Some(self.origin.clone()), problem);
        self.layer.mistakes.push(mistake);
    }
}

/// The name as TOML writes it in a path.
fn quoted(name: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if !name.is_empty() && name.bytes().all(is_bare) {
        name.to_owned()
    } else {
        format!("{name:?}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::EXAMPLE;
    use crate::config::keys::KEYS;

    fn mistakes(text: &str) -> Vec<String> {
        let file = File {
            path: "config.toml".into(),
            text: text.to_owned(),
        };
        match file.layer() {
            Ok(layer) => layer.mistakes.iter().map(ToString::to_string).collect(),
            Err(mistake) => vec![mistake.to_string()],
        }
    }

    #[test]
    fn the_example_sets_every_default_and_nothing_else() {
        let example = layer(parse(EXAMPLE).expect("it is TOML"), &Origin::Flag);
        assert_eq!(example.mistakes, []);
        let set: Vec<_> = example
            .settings
            .into_iter()
            .map(|(address, setting)| (address.key, setting.texts))
            .collect();
        let mut defaults: Vec<_> = KEYS
            .iter()
            .filter_map(|key| Some((*key, key.kind.texts_of_variable(key.default?.to_owned()))))
            .collect();
        defaults.sort();
        assert_eq!(set, defaults);
    }

    #[test]
    fn the_example_documents_every_key_in_every_form() {
        let uncommented = |line: &str| {
            let code = line.trim_start_matches("# ");
            let is_code = code.starts_with('[') || code.split(' ').nth(1) == Some("=");
            format!("{}\n", if is_code { code } else { line })
        };
        let text: String = EXAMPLE.lines().map(uncommented).collect();
        let layer = layer(parse(&text).expect("it is TOML"), &Origin::Flag);
        let documented: Vec<_> = layer.settings.keys().map(|address| address.key).collect();
        assert!(
            KEYS.iter().all(|key| documented.contains(key)),
            "{documented:?}"
        );
        let secrets = KEYS.iter().filter(|key| key.forms().len() == 2);
        assert_eq!(layer.mistakes.len(), secrets.count());
        for mistake in layer.mistakes {
            assert!(
                mistake.to_string().ends_with(" are given; keep one"),
                "{mistake}"
            );
        }
    }

    #[test]
    fn a_syntax_error_is_located_but_not_quoted() {
        for (text, place) in [
            ("data_dir = secret", "line 1, column 12"),
            ("data_dir = 98765432109876543210", "line 1, column 12"),
            ("[log]\nlevel = \"ä\" \"secret\"", "line 2, column 13"),
            ("[log]\nlevel = 1\nlevel = \"secret\"", "line 3, column 1"),
            ("[log]\nlevel = \"secret", "line 2, column 16"),
        ] {
            let rule = "strings must be in quotes, numbers have at most 18 digits, and a key or table may be given only once";
            assert_eq!(
                mistakes(text),
                [format!(
                    "`config.toml`: is not valid TOML at {place}; {rule}"
                )]
            );
        }
    }

    #[test]
    fn a_byte_order_mark_and_line_ends_of_windows_are_taken() {
        assert_eq!(mistakes("\u{feff}[log]\r\nlevel = \"info\"\r\n"), [""; 0]);
    }

    #[test]
    fn a_wrong_type_is_told_with_the_right_one() {
        for (text, expected) in [
            (
                "data_dir = 5",
                "`data_dir` (config.toml): must be a quoted string",
            ),
            (
                "server.body_limit = \"9\"",
                "`server.body_limit` (config.toml): must be a whole number from 1 to 16777216",
            ),
            (
                "store.migrate = 1",
                "`store.migrate` (config.toml): must be `true` or `false`",
            ),
            (
                "api.keys = \"x\"",
                "`api.keys` (config.toml): must be a list of quoted strings",
            ),
            (
                "store.url_file = 1",
                "`store.url_file` (config.toml): must be a quoted string",
            ),
            (
                "server = 5",
                "`server` (config.toml): must be a table, `[server]`",
            ),
            (
                "accounts.main = \"secret\"",
                "`accounts.main` (config.toml): must be a table, `[accounts.main]`",
            ),
            (
                "[[accounts.main]]",
                "`accounts.main` (config.toml): must be a table, `[accounts.main]`",
            ),
        ] {
            assert_eq!(mistakes(text), [expected]);
        }
    }

    #[test]
    fn unknown_keys_are_named_in_full() {
        for (text, start) in [
            ("colour = 1", "`colour` (config.toml): is unknown; known:"),
            (
                "[log]\ncolour = 1",
                "`log.colour` (config.toml): is unknown; known in `log`:",
            ),
            (
                "[accounts.main]\ntokn = 1",
                "`accounts.main.tokn` (config.toml): is unknown (did you mean `accounts.main.token`?); known in",
            ),
            (
                "\"a b\\n\" = 1",
                "`\"a b\\n\"` (config.toml): is unknown; known:",
            ),
            (
                "[servr]\nlisten = 1",
                "`servr` (config.toml): is unknown (did you mean `server`?)",
            ),
            (
                "[accounts.Main]\n",
                "`accounts.Main` (config.toml): is not an account name; an account name is 1 to 64 of",
            ),
            (
                "[accounts.\"a.b\"]\n",
                "`accounts.\"a.b\"` (config.toml): is not an account name;",
            ),
        ] {
            let mistakes = mistakes(text);
            assert!(
                mistakes.len() == 1 && mistakes[0].starts_with(start),
                "{mistakes:?}"
            );
        }
    }

    #[test]
    fn one_layer_gives_a_secret_in_one_form() {
        assert_eq!(
            mistakes("[accounts.main]\ntoken = \"a\"\ntoken_file = \"b\""),
            [
                "`accounts.main.token_file` (config.toml): both `token` and `token_file` are given; keep one"
            ]
        );
    }

    #[test]
    fn the_flag_wins_over_the_variable_and_both_over_the_standard_file() {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let path = |name: &str| directory.path().join(name);
        for name in ["flag", "variable", "standard"] {
            fs::write(path(name), name).expect("a file can be written");
        }
        let variable = || Some(("QUNFA_CONFIG".to_owned(), path("variable")));
        let found = |flag: Option<&str>, variable, standard: &str| {
            File::find(flag.map(path).as_deref(), variable, &path(standard))
                .map(|file| file.map(|file| file.text))
                .map_err(|mistake| mistake.to_string().replace(path("").to_str().unwrap(), ""))
        };
        let text = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(found(Some("flag"), variable(), "standard"), text("flag"));
        assert_eq!(found(None, variable(), "standard"), text("variable"));
        assert_eq!(found(None, None, "standard"), text("standard"));
        assert_eq!(found(None, None, "missing"), Ok(None));

        let missing =
            "the configuration file cannot be read: No such file or directory (os error 2)";
        assert_eq!(
            found(Some("missing"), variable(), "standard"),
            Err(format!("`missing` (--config): {missing}"))
        );
        let variable = Some(("QUNFA_CONFIG".to_owned(), path("missing")));
        assert_eq!(
            found(None, variable, "standard"),
            Err(format!("`missing` (QUNFA_CONFIG): {missing}"))
        );
    }

    proptest! {
        #[test]
        fn no_damage_to_a_file_makes_it_quoted(
            position in 0_usize..120,
            removed in 0_usize..4,
            inserted in r#"["'=\[\]{}.,#\\ \nxu0-9:-]{0,4}"#,
        ) {
            let text = "[accounts.main]\ntoken = \"CANARYCANARY\"\nencoding_aes_key = 'CANARYCANARY'\n\
                        list = [\"CANARYCANARY\", { a = 98765432109876543210 }]\n";
            let start = position.min(text.len());
            let end = (start + removed).min(text.len());
            let damaged = format!("{}{inserted}{}", &text[..start], &text[end..]);
            if let Err(problem) = parse(&damaged) {
                prop_assert!(!problem.contains("ANA") && !problem.contains("543"), "{problem}");
            }
        }
    }
}
