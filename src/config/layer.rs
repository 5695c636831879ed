//! What one source sets: the file, or the environment over it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::keys::{Address, Form, Key, Owner};
use super::mistake::{Mistake, Origin};

/// Settings, and what is wrong with the source itself.
#[derive(Default)]
pub(super) struct Layer {
    pub(super) settings: BTreeMap<Address, Setting>,
    /// Every account and client that is named, even if nothing is set for it.
    pub(super) owners: BTreeSet<Owner>,
    pub(super) mistakes: Vec<Mistake>,
}

/// One value and where it comes from. It has no `Debug`: any text may be a secret under the wrong
/// key.
pub(super) struct Setting {
    pub(super) form: Form,
    pub(super) origin: Origin,
    /// The entries of a list; exactly one text for every other kind. None if the key does not allow
    /// the value: then the layer has the mistake.
    pub(super) texts: Option<Vec<String>>,
}

impl Layer {
    /// Adds a setting, or what is wrong with it. One layer can set a key only once, in one form.
    pub(super) fn insert(
        &mut self,
        address: &Address,
        form: Form,
        origin: Origin,
        texts: Result<Vec<String>, String>,
    ) {
        self.owners.extend(address.owner.clone());
        let mut mistake = |problem| {
            let mistake = Mistake::in_setting(address.clone(), form, origin.clone(), problem);
            self.mistakes.push(mistake);
        };
        let texts = texts.map_err(&mut mistake).ok();
        match self.settings.entry(address.clone()) {
            Entry::Vacant(entry) => {
                entry.insert(Setting {
                    form,
                    origin,
                    texts,
                });
            }
            Entry::Occupied(entry) => mistake(entry.get().duplicate(address.key, form)),
        }
    }

    /// Lays another layer over this one: a key that it sets, in either form, wins.
    pub(super) fn cover_with(&mut self, upper: Self) {
        self.settings.extend(upper.settings);
        self.owners.extend(upper.owners);
        self.mistakes.extend(upper.mistakes);
    }
}

impl Setting {
    /// What is wrong with setting the key again in that form.
    fn duplicate(&self, key: Key, form: Form) -> String {
        if self.form == form {
            return format!("is set twice, also as `{}`; keep one", self.origin);
        }
        let [value, file] = [Form::Value, Form::File].map(|form| key.spelling(form));
        format!("both `{value}` and `{file}` are given; keep one")
    }
}
