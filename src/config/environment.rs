//! The environment as a layer: a variable is `QUNFA_` and the path of the key, joined by `__`, in
//! any case.

use std::ffi::OsString;
use std::path::PathBuf;

use super::keys::{ACCOUNTS, Address, CLIENTS, Form, Key, Owner, ROOT, SECTIONS};
use super::layer::Layer;
use super::mistake::{Mistake, Origin};
use super::unknown::{self, Notation};

const PREFIX: &str = "QUNFA_";
/// The variable that names the configuration file, without the prefix.
const CONFIG: &str = "config";

/// The variables whose names start with `QUNFA_`.
pub(super) struct Environment {
    variables: Vec<Variable>,
}

struct Variable {
    /// As in the environment.
    name: String,
    /// Lower case, without the prefix.
    path: String,
    value: OsString,
}

impl Environment {
    pub(super) fn new(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let mut variables: Vec<_> = variables
            .into_iter()
            .filter_map(|(name, value)| Variable::new(&name.to_string_lossy(), value))
            .collect();
        variables.sort_unstable_by(|left, right| left.name.cmp(&right.name));
        Self { variables }
    }

    /// The name and the value of the variable that names the configuration file, unless it is
    /// empty.
    pub(super) fn config(&self) -> Option<(String, PathBuf)> {
        self.variables
            .iter()
            .find(|variable| variable.path == CONFIG && !variable.value.is_empty())
            .map(|variable| (variable.name.clone(), PathBuf::from(&variable.value)))
    }

    pub(super) fn into_layer(self) -> Layer {
        let mut layer = Layer::default();
        for variable in self.variables {
            if variable.path != CONFIG {
                variable.add_to(&mut layer);
            }
        }
        layer
    }
}

impl Variable {
    fn new(name: &str, value: OsString) -> Option<Self> {
        let (prefix, path) = name.split_at_checked(PREFIX.len())?;
        prefix.eq_ignore_ascii_case(PREFIX).then(|| Self {
            name: name.escape_debug().to_string(),
            path: path.to_ascii_lowercase(),
            value,
        })
    }

    fn add_to(self, layer: &mut Layer) {
        match self.target() {
            Ok((address, form)) => {
                let texts = read(address.key, self.value);
                layer.insert(&address, form, Origin::Variable(self.name), texts);
            }
            Err(problem) => layer
                .mistakes
                .push(Mistake::other(self.name, None, problem)),
        }
    }

    /// What it sets, or what is wrong with its name.
    fn target(&self) -> Result<(Address, Form), String> {
        let (container, name) = self.path.rsplit_once("__").unwrap_or((ROOT, &self.path));
        let owned = [(ACCOUNTS, "accounts__"), (CLIENTS, "api__clients__")]
            .into_iter()
            .find_map(|(section, start)| Some((section, container.strip_prefix(start)?)));
        let (section, owner) = match owned {
            Some((section, owner)) => (section, Some(owner)),
            None => (container, None),
        };
        let unknown = |section, name| {
            Err(unknown::problem(
                section,
                owner,
                name,
                Notation::Environment,
            ))
        };
        if owner.is_none() {
            if [ACCOUNTS, CLIENTS].contains(&section) {
                return unknown(ROOT, name);
            }
            if section != ROOT && !SECTIONS.contains(&section) {
                return unknown(ROOT, &self.path.replace("__", "."));
            }
        }
        let Some((key, form)) = Key::find(section, name) else {
            return unknown(section, name);
        };
        let owner = owner.map(|name| Owner::read(section, name)).transpose()?;
        Ok((Address { owner, key }, form))
    }
}

fn read(key: Key, value: OsString) -> Result<Vec<String>, String> {
    let text = value.into_string().map_err(|_| "is not UTF-8")?;
    if text.is_empty() && !key.may_be_empty() {
        return Err("is empty; unset it".to_owned());
    }
    key.kind
        .texts_of_variable(text)
        .ok_or_else(|| key.kind.rule())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        Environment::new(
            variables
                .iter()
                .map(|(name, value)| (name.into(), value.into())),
        )
    }

    fn mistakes(variables: &[(&str, &str)]) -> Vec<String> {
        let layer = environment(variables).into_layer();
        layer.mistakes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn names_are_paths_in_any_case() {
        for (name, address, form) in [
            ("QUNFA_DATA_DIR", "data_dir", Form::Value),
            ("qunfa_server__listen", "server.listen", Form::Value),
            ("QUNFA_STORE__URL_FILE", "store.url", Form::File),
            (
                "QUNFA_ACCOUNTS__MAIN__TOKEN",
                "accounts.main.token",
                Form::Value,
            ),
            (
                "QUNFA_ACCOUNTS__My-Shop__KEEP_EVENTS",
                "accounts.my-shop.keep_events",
                Form::Value,
            ),
            (
                "QUNFA_API__CLIENTS__Grafana__KEY",
                "api.clients.grafana.key",
                Form::Value,
            ),
            (
                "QUNFA_ACCOUNTS__A_B__TOKEN_FILE",
                "accounts.a_b.token",
                Form::File,
            ),
            (
                "QUNFA_ACCOUNTS___A___TOKEN",
                "accounts._a_.token",
                Form::Value,
            ),
            (
                "QUNFA_ACCOUNTS__ACCOUNTS__MODE",
                "accounts.accounts.mode",
                Form::Value,
            ),
        ] {
            let layer = environment(&[(name, "x")]).into_layer();
            let (found, setting) = layer.settings.first_key_value().expect("it is set");
            assert_eq!(
                (found.to_string().as_str(), setting.form),
                (address, form),
                "{name}"
            );
            assert_eq!(setting.origin.to_string(), name);
            assert!(
                layer.mistakes.is_empty() && setting.texts.is_some(),
                "{name}"
            );
        }
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        let foreign = [
            ("PATH", "x"),
            ("QUNFA", "x"),
            ("XQUNFA_LOG__LEVEL", "x"),
            ("群发_LOG", "x"),
            ("QUNFA_CONFIG", "x"),
        ];
        assert_eq!(mistakes(&foreign), [""; 0]);
        assert!(environment(&foreign).into_layer().settings.is_empty());
    }

    #[test]
    fn unknown_variables_are_mistakes_with_a_hint() {
        for (name, expected) in [
            ("QUNFA_", "is unknown; known: `DATA_DIR`"),
            (
                "QUNFA_SERVER_LISTEN",
                "is unknown (did you mean `QUNFA_SERVER__LISTEN`?); known: `DATA_DIR`",
            ),
            (
                "QUNFA_SEVER__LISTEN",
                "is unknown (did you mean `QUNFA_SERVER__LISTEN`?); known: `DATA_DIR`",
            ),
            (
                "QUNFA_SERVER__LISTN",
                "is unknown (did you mean `QUNFA_SERVER__LISTEN`?); known after `QUNFA_SERVER__`: `LISTEN`",
            ),
            (
                "QUNFA_TOKEN",
                "is unknown (did you mean `QUNFA_ACCOUNTS__NAME__TOKEN`?)",
            ),
            ("QUNFA_ACCOUNTS", "is unknown; known: `DATA_DIR`"),
            (
                "QUNFA_ACCOUNTS__TOKEN",
                "is unknown (did you mean `QUNFA_ACCOUNTS__NAME__TOKEN`?)",
            ),
            (
                "QUNFA_ACCOUNTS__MAIN__TOKN",
                "is unknown (did you mean `QUNFA_ACCOUNTS__MAIN__TOKEN`?)",
            ),
            (
                "QUNFA_ACCOUNTS__A B__TOKEN",
                "is not an account name; an account name is",
            ),
            (
                "QUNFA_ACCOUNTS__A__B__TOKEN",
                "is not an account name; an account name is",
            ),
            (
                "QUNFA_API__CLIENTS__A__B__KEY",
                "is not a client name; a client name is",
            ),
            (
                "QUNFA_API__CLIENTS__GRAFANA__SCOPE",
                "is unknown (did you mean `QUNFA_API__CLIENTS__GRAFANA__SCOPES`?)",
            ),
            (
                "QUNFA_API__CLIENTS",
                "is unknown; known after `QUNFA_API__`",
            ),
            ("QUNFA_DATA_DIR_FILE", "is unknown"),
            ("QUNFA_SERVER__", "is unknown; known after `QUNFA_SERVER__`"),
            (
                "QUNFA___LISTEN",
                "is unknown (did you mean `QUNFA_SERVER__LISTEN`?)",
            ),
        ] {
            let mistakes = mistakes(&[(name, "x")]);
            let start = format!("`{name}`: {expected}");
            assert!(
                mistakes.len() == 1 && mistakes[0].starts_with(&start),
                "{mistakes:?}"
            );
        }
    }

    #[test]
    fn values_are_read_strictly() {
        for (name, value, problem) in [
            (
                "QUNFA_SERVER__LISTEN",
                "",
                "`server.listen` (QUNFA_SERVER__LISTEN): is empty; unset it",
            ),
            (
                "QUNFA_SERVER__BODY_LIMIT",
                "64k",
                "`server.body_limit` (QUNFA_SERVER__BODY_LIMIT): must be a whole number from 1 to 16777216",
            ),
            (
                "QUNFA_STORE__MIGRATE",
                "no",
                "`store.migrate` (QUNFA_STORE__MIGRATE): must be `true` or `false`",
            ),
            (
                "QUNFA_ACCOUNTS__A__TOKEN_FILE",
                "",
                "`accounts.a.token_file` (QUNFA_ACCOUNTS__A__TOKEN_FILE): is empty; unset it",
            ),
        ] {
            assert_eq!(mistakes(&[(name, value)]), [problem]);
        }
        assert_eq!(mistakes(&[("QUNFA_API__KEYS", "")]), [""; 0]);
    }

    #[test]
    fn a_key_is_set_once_in_whatever_case_and_form() {
        assert_eq!(
            mistakes(&[("QUNFA_LOG__LEVEL", "info"), ("qunfa_log__level", "info")]),
            ["`log.level` (qunfa_log__level): is set twice, also as `QUNFA_LOG__LEVEL`; keep one"]
        );
        assert_eq!(
            mistakes(&[("QUNFA_STORE__URL", "x"), ("QUNFA_STORE__URL_FILE", "x")]),
            [
                "`store.url_file` (QUNFA_STORE__URL_FILE): both `url` and `url_file` are given; keep one"
            ]
        );
    }

    #[test]
    fn what_is_not_utf_8_is_a_mistake_and_not_shown() {
        use std::os::unix::ffi::OsStringExt;
        let value = OsString::from_vec(b"CANARY\xff".to_vec());
        let layer = Environment::new([("QUNFA_DATA_DIR".into(), value)]).into_layer();
        assert_eq!(
            layer.mistakes[0].to_string(),
            "`data_dir` (QUNFA_DATA_DIR): is not UTF-8"
        );
    }

    #[test]
    fn the_file_is_named_unless_the_variable_is_empty() {
        let config = |value| environment(&[("QUNFA_CONFIG", value)]).config();
        assert_eq!(config(""), None);
        assert_eq!(
            config("a b"),
            Some(("QUNFA_CONFIG".to_owned(), "a b".into()))
        );
    }
}
