//! One table of the file, key by key: what is left in the end is not understood.

use std::time::Duration;

use toml::{Table, Value};

use crate::cli::{duration, suggest};

/// A table that is being read.
pub(super) struct Section {
    /// Its name with a dot behind it; empty for the file itself.
    prefix: String,
    table: Table,
    /// The keys that were asked for.
    known: Vec<&'static str>,
}

impl Section {
    pub(super) fn root(table: Table) -> Self {
        Self {
            prefix: String::new(),
            table,
            known: Vec::new(),
        }
    }

    /// Reads a key, if it is there.
    ///
    /// # Errors
    /// Names the key, and says what `parse` says.
    pub(super) fn take<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(Value) -> Result<T, String>,
    ) -> Result<Option<T>, String> {
        self.known.push(key);
        self.table
            .remove(key)
            .map(|value| parse(value).map_err(|problem| format!("{}{key}: {problem}", self.prefix)))
            .transpose()
    }

    /// Puts a key's value in its place, if it is there.
    pub(super) fn set<T>(
        &mut self,
        key: &'static str,
        place: &mut T,
        parse: impl FnOnce(Value) -> Result<T, String>,
    ) -> Result<(), String> {
        if let Some(value) = self.take(key, parse)? {
            *place = value;
        }
        Ok(())
    }

    /// A table in it; empty, if it is not there.
    pub(super) fn section(&mut self, key: &'static str) -> Result<Self, String> {
        let table = self.take(key, |value| match value {
            Value::Table(table) => Ok(table),
            other => Err(wanted("a table", &other)),
        })?;
        Ok(Self {
            prefix: format!("{}{key}.", self.prefix),
            table: table.unwrap_or_default(),
            known: Vec::new(),
        })
    }

    /// One sentence for each key that nobody asked for.
    pub(super) fn unknown(&self) -> Vec<String> {
        self.table
            .keys()
            .map(|key| {
                format!(
                    "unknown key {}{key}{}",
                    self.prefix,
                    suggest::hint(key, self.known.iter().copied())
                )
            })
            .collect()
    }
}

fn wanted(what: &str, found: &Value) -> String {
    format!("expected {what}, found {} ({found})", found.type_str())
}

/// A text.
pub(super) fn text(value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(wanted("a text in quotes", &other)),
    }
}

/// A text that something is made of.
pub(super) fn parsed<T>(
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> impl FnOnce(Value) -> Result<T, String> {
    |value| {
        text(value).and_then(|text| parse(&text).map_err(|problem| format!("'{text}': {problem}")))
    }
}

/// A time with its unit.
pub(super) fn time(value: Value) -> Result<Duration, String> {
    parsed(duration::parse)(value)
}

/// `true` or `false`.
pub(super) fn switch(value: Value) -> Result<bool, String> {
    match value {
        Value::Boolean(is_on) => Ok(is_on),
        other => Err(wanted("true or false", &other)),
    }
}

/// A whole number within bounds.
pub(super) fn number(least: u32, most: u32) -> impl FnOnce(Value) -> Result<u32, String> {
    move |value| match &value {
        Value::Integer(number) => u32::try_from(*number)
            .ok()
            .filter(|number| (least..=most).contains(number))
            .ok_or_else(|| format!("expected a number from {least} to {most}, found {number}")),
        other => Err(wanted("a whole number", other)),
    }
}

/// A list of texts, something being made of each.
pub(super) fn list<T>(
    parse: impl Fn(&str) -> Result<T, String>,
) -> impl FnOnce(Value) -> Result<Vec<T>, String> {
    move |value| match value {
        Value::Array(values) => values
            .into_iter()
            .map(|value| parsed(&parse)(value))
            .collect(),
        other => Err(wanted("a list", &other)),
    }
}
