//! The message for an unknown key: the key that was probably meant, and those that are known in its
//! place.

use strsim::levenshtein;

use super::keys::{ACCOUNTS, CLIENTS, Key, ROOT, SECTIONS};

/// How a source writes keys.
#[derive(Clone, Copy)]
pub(super) enum Notation {
    /// `server.listen`
    Toml,
    /// `QUNFA_SERVER__LISTEN`
    Environment,
}

/// The problem with `name` in that section, or with that owner in it.
pub(super) fn problem(
    section: &str,
    owner: Option<&str>,
    name: &str,
    notation: Notation,
) -> String {
    let container = container(section, owner);
    let suggestion = match suggestion(&container, section, name, notation) {
        Some(path) => format!(" (did you mean `{}`?)", notation.path(&path)),
        None => String::new(),
    };
    let place = match (container.as_str(), notation) {
        (ROOT, _) => String::new(),
        (container, Notation::Toml) => format!(" in `{container}`"),
        (container, Notation::Environment) => format!(" after `{}__`", notation.path(container)),
    };
    let keys = key_names(section).map(|name| format!("`{}`", notation.name(&name)));
    let subsections = SECTIONS.into_iter().filter_map(|path| {
        let (container, name) = path.rsplit_once('.').unwrap_or((ROOT, path));
        (container == section).then(|| match notation {
            Notation::Toml => format!("`{name}`"),
            Notation::Environment => format!("`{}__…`", notation.name(name)),
        })
    });
    let known: Vec<_> = keys.chain(subsections).collect();
    format!("is unknown{suggestion}; known{place}: {}", known.join(", "))
}

impl Notation {
    fn path(self, path: &str) -> String {
        match self {
            Self::Toml => path.to_owned(),
            Self::Environment => format!("QUNFA_{}", self.name(path)),
        }
    }

    fn name(self, name: &str) -> String {
        match self {
            Self::Toml => name.to_owned(),
            Self::Environment => name.replace('.', "__").to_ascii_uppercase(),
        }
    }
}

/// The path of the table that the key is in.
fn container(section: &str, owner: Option<&str>) -> String {
    match owner {
        Some(owner) => format!("{section}.{owner}"),
        None => section.to_owned(),
    }
}

fn join(container: &str, name: &str) -> String {
    match container {
        ROOT => name.to_owned(),
        container => format!("{container}.{name}"),
    }
}

/// The names of the keys in the section.
fn key_names(section: &str) -> impl Iterator<Item = String> {
    Key::of_section(section).map(|(key, form)| key.spelling(form))
}

/// The path with the fewest different letters, in any section, or else the same name in another
/// section.
fn suggestion(container: &str, section: &str, name: &str, notation: Notation) -> Option<String> {
    let typed = join(container, name);
    let here = key_names(section).map(|name| join(container, &name));
    let tables = match notation {
        Notation::Toml => &SECTIONS[..],
        // A variable sets one key, never a section.
        Notation::Environment => &[],
    };
    let tables = tables.iter().map(|section| (*section).to_owned());
    let elsewhere = [ROOT].into_iter().chain(SECTIONS).flat_map(|section| {
        let owner = [ACCOUNTS, CLIENTS].contains(&section).then_some("NAME");
        let container = self::container(section, owner);
        key_names(section).map(move |name| join(&container, &name))
    });

    let candidates: Vec<String> = here.chain(tables).chain(elsewhere).collect();
    let nearest = candidates
        .iter()
        .map(|path| (levenshtein(&folded(&typed), &folded(path)), path))
        .filter(|(distance, _)| *distance <= 2 && *distance < name.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, path)| path);
    let same_name = format!(".{name}");
    // A section's name is not a typo of a key in another section.
    let is_same = |path: &&String| path.ends_with(&same_name) && !SECTIONS.contains(&name);
    nearest.or_else(|| candidates.iter().find(is_same)).cloned()
}

/// Neither case nor the character between words counts as a difference.
fn folded(path: &str) -> String {
    path.to_ascii_lowercase().replace(['-', '.'], "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_suggested() {
        for (section, account, name, meant) in [
            (ACCOUNTS, Some("main"), "tokn", Some("accounts.main.token")),
            (
                ACCOUNTS,
                Some("main"),
                "appid",
                Some("accounts.main.app_id"),
            ),
            (ACCOUNTS, Some("main"), "listen", Some("server.listen")),
            ("server", None, "body-limit", Some("server.body_limit")),
            ("server", None, "BODY_LIMITS", Some("server.body_limit")),
            (ROOT, None, "server_listen", Some("server.listen")),
            (ROOT, None, "listen", Some("server.listen")),
            (ROOT, None, "token", Some("accounts.NAME.token")),
            (ROOT, None, "sever", Some("server")),
            (ROOT, None, "account", Some("accounts")),
            (ROOT, None, "x", None),
            (ROOT, None, "colour", None),
        ] {
            let container = container(section, account);
            assert_eq!(
                suggestion(&container, section, name, Notation::Toml).as_deref(),
                meant,
                "{name}"
            );
        }
    }

    #[test]
    fn keys_are_named_as_the_source_writes_them() {
        assert_eq!(
            problem("log", None, "levle", Notation::Toml),
            "is unknown (did you mean `log.level`?); known in `log`: `format`, `level`"
        );
        assert_eq!(
            problem("log", None, "levle", Notation::Environment),
            "is unknown (did you mean `QUNFA_LOG__LEVEL`?); known after `QUNFA_LOG__`: `FORMAT`, `LEVEL`"
        );
        assert_eq!(
            problem(ROOT, None, "colour", Notation::Toml),
            "is unknown; known: `data_dir`, `server`, `store`, `api`, `metrics`, `log`, `accounts`"
        );
        assert_eq!(
            problem(ROOT, None, "server", Notation::Environment),
            "is unknown; known: `DATA_DIR`, `SERVER__…`, `STORE__…`, `API__…`, `METRICS__…`, `LOG__…`, `ACCOUNTS__…`"
        );
    }
}
