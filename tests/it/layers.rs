//! Keeps the layer rule: which module may name which, where SQL may stand, and that docs and
//! migrations follow.
//!
//! Sources are read with `syn`: every `use`, path, macro and literal counts, in tests and inside of
//! expressions, too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::buffer::{Cursor, TokenBuffer};
use syn::visit::{self, Visit};

/// What a module may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum May {
    Only(&'static [&'static str]),
    Everything,
}

use May::{Everything, Only};

/// The rule, as in the docs of `src/lib.rs`.
const RULE: [(&str, May); 15] = [
    ("domain", Only(&[])),
    ("wechat", Only(&["domain"])),
    ("store", Only(&["domain", "files"])),
    ("ingest", Only(&["domain", "store"])),
    ("feed", Only(&["domain", "store"])),
    ("output", Only(&["domain", "store"])),
    (
        "web",
        Only(&[
            "domain", "wechat", "ingest", "feed", "store", "output", "server",
        ]),
    ),
    ("simulator", Only(&["domain", "wechat"])),
    ("config", Only(&["domain", "wechat"])),
    ("server", Only(&[])),
    ("telemetry", Only(&[])),
    ("files", Only(&[])),
    ("app", Everything),
    ("cli", Everything),
    ("main", Everything),
];

/// Modules that may use a crate; other crates may be used anywhere.
const CRATES: [(&str, &[&str]); 2] = [("sqlx", &["store"]), ("anyhow", &["app", "cli", "main"])];

/// The contents of a file.
#[derive(Debug, Default)]
struct Found {
    /// Paths with `self` and `super` resolved: they start with `crate` or another crate, or are
    /// unchanged.
    paths: BTreeSet<Vec<String>>,
    /// String literals, except doc comments.
    texts: Vec<String>,
}

/// Walks through a file, tracking the current module.
struct Reader {
    module: Vec<String>,
    found: Found,
}

impl Reader {
    fn path(&mut self, segments: Vec<String>) {
        if let Some(path) = resolved(&self.module, segments) {
            self.found.paths.insert(path);
        }
    }

    fn use_tree(&mut self, before: &[String], tree: &syn::UseTree) {
        let with = |name: String| [before, &[name]].concat();
        match tree {
            syn::UseTree::Path(path) => {
                self.use_tree(&with(path.ident.to_string()), &path.tree);
            }
            syn::UseTree::Name(name) => self.path(with(name.ident.to_string())),
            syn::UseTree::Rename(rename) => self.path(with(rename.ident.to_string())),
            syn::UseTree::Glob(_) => self.path(with("*".to_owned())),
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.use_tree(before, tree);
                }
            }
        }
    }

    /// Macros and attributes are only tokens: paths are words joined by `::`.
    fn tokens(&mut self, mut cursor: Cursor<'_>, with_texts: bool) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        while !cursor.eof() {
            if let Some((inside, _, _, after)) = cursor.any_group() {
                self.path(std::mem::take(&mut path));
                self.tokens(inside, with_texts);
                cursor = after;
                continue;
            }
            if let Some((word, after)) = cursor.ident() {
                if colons != 2 {
                    self.path(std::mem::take(&mut path));
                }
                path.push(word.to_string());
                colons = 0;
                cursor = after;
            } else if let Some((mark, after)) = cursor.punct() {
                colons = if mark.as_char() == ':' { colons + 1 } else { 0 };
                cursor = after;
            } else if let Some((literal, after)) = cursor.literal() {
                if with_texts && let Ok(text) = syn::parse_str::<syn::LitStr>(&literal.to_string())
                {
                    self.found.texts.push(text.value());
                }
                colons = 0;
                cursor = after;
            } else if let Some((_, after)) = cursor.token_tree() {
                cursor = after;
            }
        }
        self.path(path);
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.use_tree(&[], &item.tree);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        self.path(vec![item.ident.to_string()]);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments = path.segments.iter();
        self.path(segments.map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, invocation: &'ast syn::Macro) {
        self.visit_path(&invocation.path);
        let buffer = TokenBuffer::new2(invocation.tokens.clone());
        self.tokens(buffer.begin(), true);
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        self.visit_path(attribute.path());
        if let syn::Meta::List(list) = &attribute.meta {
            let buffer = TokenBuffer::new2(list.tokens.clone());
            self.tokens(buffer.begin(), false);
        }
    }

    fn visit_lit_str(&mut self, text: &'ast syn::LitStr) {
        self.found.texts.push(text.value());
    }
}

/// The absolute path; `None` if it names nothing.
fn resolved(module: &[String], segments: Vec<String>) -> Option<Vec<String>> {
    let climbs = segments.iter().take_while(|name| *name == "super").count();
    match segments.first()?.as_str() {
        "super" => {
            let left = module
                .len()
                .checked_sub(climbs)
                .expect("no module is above the root");
            let mut path = vec!["crate".to_owned()];
            path.extend_from_slice(&module[..left]);
            path.extend_from_slice(&segments[climbs..]);
            Some(path)
        }
        "self" => {
            // `self::super::x` is `super::x`; a `self` by itself is a value.
            let rest = segments[1..].to_vec();
            if rest.first().is_some_and(|name| name == "super") {
                return resolved(module, rest);
            }
            let mut path = vec!["crate".to_owned()];
            path.extend_from_slice(module);
            path.extend(rest);
            Some(path)
        }
        _ => Some(segments),
    }
}

/// The text begins like a SQL statement, or has a clause that only SQL has.
fn is_sql(text: &str) -> bool {
    let lower = text.to_lowercase();
    let mut words = lower.split_whitespace();
    let [first, second, third] = [(); 3].map(|()| words.next().unwrap_or_default());
    let starts = match first {
        "select" | "pragma" | "vacuum" | "truncate" => !second.is_empty(),
        "insert" | "replace" => second == "into",
        "delete" => second == "from",
        "update" => third == "set",
        "with" => third == "as",
        "begin" => matches!(second, "immediate" | "transaction"),
        "create" | "drop" | "alter" => [
            "table", "index", "view", "unique", "trigger", "database", "schema",
        ]
        .contains(&second),
        _ => false,
    };
    let clauses = [
        "order by",
        "group by",
        "on conflict",
        "limit ?",
        "limit $",
        "= ?",
        "= $1",
    ];
    starts || clauses.iter().any(|clause| lower.contains(clause))
}

/// Violations of the rule in a file of that module.
fn breaches(module: &str, found: &Found) -> Vec<String> {
    let (_, may) = RULE
        .iter()
        .find(|(name, _)| *name == module)
        .expect("it stands in the rule");
    let mut breaches = Vec::new();
    for path in &found.paths {
        let shown = path.join("::");
        let mut names = path.iter().map(String::as_str);
        match (names.next(), names.next(), may) {
            (Some("crate"), Some(other), Only(others)) => {
                if other != module && !others.contains(&other) {
                    breaches.push(format!("`{module}` may not name `{shown}`"));
                }
            }
            (Some("crate"), None, Only(_)) => {
                breaches.push(format!("`{module}` names the root: `{shown}`"));
            }
            (Some(name), _, _) => {
                let allowed = CRATES.iter().find(|(krate, _)| *krate == name);
                if allowed.is_some_and(|(_, modules)| !modules.contains(&module)) {
                    breaches.push(format!("`{module}` may not use `{shown}`"));
                }
            }
            (None, ..) => {}
        }
        let is_config = shown == "crate::config::Config" || shown == "crate::config::*";
        if is_config && !["app", "cli", "config"].contains(&module) {
            breaches.push(format!("`{module}` may not see `{shown}`"));
        }
        if path.iter().any(|name| name == "AssertSqlSafe") {
            breaches.push(format!("`{module}` has SQL that is not literal: `{shown}`"));
        }
    }
    if module != "store" {
        let sql = found.texts.iter().filter(|text| is_sql(text));
        breaches.extend(sql.map(|text| format!("`{module}` has SQL: {text:?}")));
    }
    breaches
}

fn read(module: &[&str], source: &str) -> Found {
    let mut reader = Reader {
        module: module.iter().map(|&name| name.to_owned()).collect(),
        found: Found::default(),
    };
    reader.visit_file(&syn::parse_file(source).unwrap());
    reader.found
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file under a directory.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The files of every module: its path and contents. `lib.rs` has its own test.
fn modules() -> Vec<(Vec<String>, Found)> {
    let directory = root().join("src");
    let files = sources(&directory)
        .into_iter()
        .filter(|path| !path.ends_with("lib.rs"));
    let modules = files.map(|file| {
        let path = file.strip_prefix(&directory).unwrap().with_extension("");
        let names = path.iter().map(|name| name.to_str().unwrap());
        let names: Vec<&str> = names.filter(|name| *name != "mod").collect();
        let source = std::fs::read_to_string(&file).unwrap();
        let found = read(&names, &source);
        (names.into_iter().map(str::to_owned).collect(), found)
    });
    modules.collect()
}

#[test]
fn every_module_names_only_what_its_layer_may() {
    let modules = modules();
    let mut breaches_found = Vec::new();
    let mut crates_seen = BTreeSet::new();
    for (module, found) in &modules {
        let first = found.paths.iter().filter_map(|path| path.first());
        crates_seen.extend(first.filter(|name| CRATES.iter().any(|(krate, _)| krate == name)));
        let breaches = breaches(&module[0], found).into_iter();
        breaches_found.extend(breaches.map(|breach| format!("{}: {breach}", module.join("::"))));
    }
    assert!(breaches_found.is_empty(), "{breaches_found:#?}");
    // Checks that something was read at all.
    assert_eq!(crates_seen.len(), CRATES.len());
    let store = modules.iter().filter(|(module, _)| module[0] == "store");
    assert!(
        store
            .flat_map(|(_, found)| &found.texts)
            .any(|text| is_sql(text))
    );
}

#[test]
fn every_module_stands_in_the_rule_and_the_root_has_nothing_else() {
    let in_rule: BTreeSet<_> = RULE.iter().map(|(name, _)| (*name).to_owned()).collect();
    let there: BTreeSet<_> = modules()
        .into_iter()
        .map(|(module, _)| module[0].clone())
        .collect();
    assert_eq!(there, in_rule);
    let lib =
        syn::parse_file(&std::fs::read_to_string(root().join("src/lib.rs")).unwrap()).unwrap();
    for item in lib.items {
        let syn::Item::Mod(item) = item else {
            panic!("src/lib.rs has more than modules, which would be a way around the rule");
        };
        assert!(item.content.is_none() && in_rule.contains(&item.ident.to_string()));
    }
}

#[test]
fn the_docs_of_the_crate_tell_the_same_rule() {
    let lib = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let mut documented = BTreeMap::new();
    for line in lib.lines().filter_map(|line| line.strip_prefix("//! | [")) {
        let cells: Vec<_> = line.trim_end_matches(" |").split(" | ").collect();
        let [names, _, may] = cells[..] else {
            panic!("three cells: {line}");
        };
        let quoted = |cell: &str| -> Vec<String> {
            cell.split('`')
                .skip(1)
                .step_by(2)
                .map(str::to_owned)
                .collect()
        };
        let may = match may {
            "–" => Some(Vec::new()),
            "everything" => None,
            names => Some(quoted(names)),
        };
        for name in quoted(names) {
            documented.insert(name, may.clone());
        }
    }
    let rule = RULE
        .iter()
        .filter(|(name, _)| *name != "main")
        .map(|(name, may)| {
            let may = match may {
                Only(names) => Some(names.iter().map(|&name| name.to_owned()).collect()),
                Everything => None,
            };
            ((*name).to_owned(), may)
        });
    assert_eq!(documented, rule.collect());
}

#[test]
fn both_stores_have_the_same_migrations() {
    let names = |store: &str| -> BTreeSet<_> {
        let directory = root().join("migrations").join(store);
        let entries = std::fs::read_dir(directory).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    };
    assert_eq!(names("postgres"), names("sqlite"));
    assert!(!names("sqlite").is_empty());
}

#[test]
fn a_breach_is_found_wherever_it_hides() {
    for (module, source, breach) in [
        ("domain", "use crate::wechat;", "crate::wechat"),
        (
            "domain",
            "use crate::{domain::X, store::{self as s, Y}};",
            "crate::store",
        ),
        ("wechat", "use crate::*;", "crate::*"),
        ("wechat", "use super::store::Store;", "crate::store::Store"),
        (
            "wechat",
            "mod tests { use super::super::web; }",
            "crate::web",
        ),
        (
            "wechat",
            "mod tests { mod deep { fn f() { self::super::super::super::app::run() } } }",
            "crate::app::run",
        ),
        (
            "store",
            "fn f() -> crate::wechat::Mode { todo() }",
            "crate::wechat::Mode",
        ),
        (
            "store",
            "fn f() { g::<crate::web::State>() }",
            "crate::web::State",
        ),
        (
            "ingest",
            "fn f() { let x = crate::config::EXAMPLE; }",
            "crate::config::EXAMPLE",
        ),
        ("ingest", "impl crate::web::T for X {}", "crate::web::T"),
        (
            "web",
            "fn f() { select! { x = crate::app::f(1) => {} } }",
            "crate::app::f",
        ),
        (
            "web",
            "fn f() { vec![(super::simulator::X)] }",
            "crate::simulator::X",
        ),
        ("web", "use crate::config::Config;", "may not see"),
        ("web", "#[derive(sqlx::FromRow)] struct X;", "sqlx::FromRow"),
        ("web", "fn f() { anyhow::bail!(\"x\") }", "anyhow::bail"),
        ("server", "type X = sqlx::Error;", "sqlx::Error"),
        ("config", "use anyhow::Context as _;", "anyhow::Context"),
        (
            "store",
            "fn f() { q(sqlx::AssertSqlSafe(x)) }",
            "not literal",
        ),
        ("app", "const X: &str = \"SELECT 1 FROM jobs\";", "has SQL"),
        ("cli", "fn f() { format!(\"delete from {x}\") }", "has SQL"),
        (
            "cli",
            "const X: &str = r#\"insert\n into jobs values (1)\"#;",
            "has SQL",
        ),
    ] {
        let found = breaches(module, &read(&[module], source));
        assert!(
            found.iter().any(|text| text.contains(breach)),
            "{source}: {found:?}"
        );
    }
}

#[test]
fn what_is_allowed_is_no_breach() {
    for (module, source) in [
        (
            "domain",
            "//! See `crate::wechat`.\nuse std::fmt; mod tests { use super::*; }",
        ),
        (
            "domain",
            "/// Select one from [`crate::store`].\nfn f() { self::g() }",
        ),
        (
            "web",
            "use crate::{domain::X, wechat, ingest::Ingest, store}; fn f() { wechat::read() }",
        ),
        (
            "web",
            "pub(in crate::web) fn f() { info!(\"updated the set of jobs\") }",
        ),
        (
            "store",
            "const X: &str = \"select 1\"; use sqlx::Row; use super::domain::Job;",
        ),
        ("app", "use crate::config::Config; use anyhow::Context;"),
        (
            "cli",
            "use crate::app; fn f() { println!(\"update your settings, then select one\") }",
        ),
    ] {
        let found = breaches(module, &read(&[module], source));
        assert!(found.is_empty(), "{source}: {found:?}");
    }
}
