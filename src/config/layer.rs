//! What one source sets: the defaults, the file or the environment. A later layer wins over an earlier one.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::key::{Address, Form, Owner};
use super::mistake::{Mistake, Origin};
use super::value::Value;
use crate::domain::{AccountName, ClientName};

/// Settings, and what is wrong with the source itself.
#[derive(Default)]
pub(super) struct Layer {
    pub(super) settings: BTreeMap<Address, Setting>,
    /// Every account and client that is named, also those of which nothing is set.
    pub(super) owners: BTreeSet<Owner>,
    pub(super) mistakes: Vec<Mistake>,
}

/// One value and where it comes from.
pub(super) struct Setting {
    pub(super) form: Form,
    pub(super) origin: Origin,
    /// None when the key does not allow it; the layer has the mistake.
    pub(super) value: Option<Value>,
}

impl Layer {
    /// Takes a setting, or what is wrong with it. Only one in this layer can set a key, in whatever form.
    pub(super) fn insert(
        &mut self,
        address: Address,
        form: Form,
        origin: Origin,
        value: Result<Value, String>,
    ) {
        self.owners.extend(address.owner.clone());
        let value = match value {
            Ok(value) => Some(value),
            Err(problem) => {
                let (address, origin) = (address.clone(), origin.clone());
                let mistake = Mistake::in_setting(address, form, origin, problem);
                self.mistakes.push(mistake);
                None
            }
        };
        match self.settings.entry(address) {
            Entry::Vacant(entry) => {
                entry.insert(Setting {
                    form,
                    origin,
                    value,
                });
            }
            Entry::Occupied(entry) => {
                let address = entry.key().clone();
                let problem = entry.get().is_also(address.key, form);
                self.mistakes
                    .push(Mistake::in_setting(address, form, origin, problem));
            }
        }
    }

    /// Lays another layer over this one: where it sets a key, in whatever form, it wins.
    pub(super) fn cover_with(&mut self, upper: Self) {
        self.settings.extend(upper.settings);
        self.owners.extend(upper.owners);
        self.mistakes.extend(upper.mistakes);
    }

    /// Every account that is named.
    pub(super) fn accounts(&self) -> impl Iterator<Item = &AccountName> {
        self.owners.iter().filter_map(|owner| match owner {
            Owner::Account(name) => Some(name),
            Owner::Client(_) => None,
        })
    }

    /// Every client that is named.
    pub(super) fn clients(&self) -> impl Iterator<Item = &ClientName> {
        self.owners.iter().filter_map(|owner| match owner {
            Owner::Client(name) => Some(name),
            Owner::Account(_) => None,
        })
    }
}

impl Setting {
    /// What is wrong with setting the key again in that form.
    fn is_also(&self, key: super::key::Key, form: Form) -> String {
        if self.form == form {
            return format!("is set twice, also as `{}`; keep one", self.origin);
        }
        let [value, file] = [Form::Value, Form::File].map(|form| key.spelling(form));
        format!("both `{value}` and `{file}` are given; keep one")
    }
}
